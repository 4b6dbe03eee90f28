// The Python module _wsss_crf.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "field.hpp"

namespace py = pybind11;
using Bytes = py::array_t<std::uint8_t, py::array::c_style>;
using Floats = py::array_t<float, py::array::c_style | py::array::forcecast>;

namespace {

std::shared_ptr<wsss::Grid> make_grid(int height, int width, float deviation, float cost) {
    if (height < 1 || width < 1) throw py::value_error("an image without pixels");
    py::gil_scoped_release released;
    return std::make_shared<wsss::Grid>(height, width, wsss::Kernel{deviation, 1, cost});
}

std::unique_ptr<wsss::Field> make_field(const Bytes& image, std::shared_ptr<wsss::Grid> grid, float deviation,
                                        float colour, float cost) {
    if (image.ndim() != 3 || image.shape(0) != grid->height || image.shape(1) != grid->width || image.shape(2) != 3)
        throw py::value_error("the image is not of the grid's size, with three channels");
    const std::uint8_t* pixels = image.data();
    py::gil_scoped_release released;
    return std::make_unique<wsss::Field>(pixels, std::move(grid), wsss::Kernel{deviation, colour, cost});
}

std::vector<Floats> infer(const wsss::Field& field, const std::vector<Floats>& unaries, int iterations) {
    if (iterations < 0) throw py::value_error("a negative number of iterations");
    std::vector<Floats> results;
    std::vector<wsss::Problem> problems;
    for (const Floats& unary : unaries) {
        if (unary.ndim() != 3 || unary.shape(0) < 2 || unary.shape(1) != field.grid().height ||
            unary.shape(2) != field.grid().width)
            throw py::value_error("a unary is not (labels, height, width) with two labels or more");
        results.emplace_back(std::vector<py::ssize_t>(unary.shape(), unary.shape() + 3));
        problems.push_back({unary.data(), results.back().mutable_data(), int(unary.shape(0))});
    }
    py::gil_scoped_release released;
    field.infer(problems, iterations);
    return results;
}

std::array<std::size_t, 2> points(const wsss::Field& field) {
    return {field.grid().lattice.points(), field.lattice().points()};
}

}  // namespace

PYBIND11_MODULE(_wsss_crf, module) {
    module.attr("SOURCE") = WSSS_SOURCE;
    py::register_exception<wsss::RangeError>(module, "RangeError", PyExc_ValueError);
    py::class_<wsss::Grid, std::shared_ptr<wsss::Grid>>(module, "Grid")
        .def(py::init(&make_grid), py::arg("height"), py::arg("width"), py::arg("deviation"), py::arg("cost"));
    py::class_<wsss::Field>(module, "Field")
        .def(py::init(&make_field), py::arg("image"), py::arg("grid"), py::arg("deviation"), py::arg("colour"),
             py::arg("cost"))
        .def("infer", &infer, py::arg("unaries"), py::arg("iterations"))
        .def_property_readonly("points", &points)
        .def_property_readonly("key_bits", [](const wsss::Field& field) { return field.lattice().key_bits(); });
}
