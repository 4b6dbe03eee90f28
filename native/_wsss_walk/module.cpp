// The Python module _wsss_walk.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "stencil.hpp"

namespace py = pybind11;
using Floats = py::array_t<float, py::array::c_style | py::array::forcecast>;

namespace {

Floats power(const Floats& maps, const std::vector<std::pair<py::ssize_t, Floats>>& stencil, const Floats& inverse,
             const std::vector<float>& coefficients) {
    if (maps.ndim() != 2 || inverse.ndim() != 1 || inverse.shape(0) != maps.shape(1))
        throw py::value_error("maps are not (maps, cells) with an inverse sum for each cell");
    if (coefficients.empty()) throw py::value_error("no coefficients");
    std::vector<std::pair<std::ptrdiff_t, const float*>> pairs;
    for (const auto& [offset, weights] : stencil) {
        if (offset < 1 || weights.ndim() != 1 || weights.shape(0) + offset != maps.shape(1))
            throw py::value_error("the weights of a direction are not those of all pairs so far apart");
        pairs.emplace_back(offset, weights.data());
    }
    Floats results({maps.shape(0), maps.shape(1)});
    const float *from = maps.data(), *sums = inverse.data();
    float* to = results.mutable_data();
    const std::ptrdiff_t count = maps.shape(0), cells = maps.shape(1);
    py::gil_scoped_release released;
    wsss::power(pairs, sums, coefficients, from, to, count, cells);
    return results;
}

}  // namespace

PYBIND11_MODULE(_wsss_walk, module) {
    module.attr("SOURCE") = WSSS_SOURCE;
    module.def("power", &power, py::arg("maps"), py::arg("stencil"), py::arg("inverse"), py::arg("coefficients"));
}
