// CUDA's runtime library without a GPU: what it calls device memory is memory of the host, copies are done at once, and
// kernels are not run (device.py computes in their place). Only what torch calls is here; every other function of the
// library is a stub that succeeds (build.py). Read once a process: SIM_GPUS, SIM_GPU_MIB, SIM_GPU_CAPABILITY.
#include <cuda_runtime_api.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string>

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace {

enum Place { UNKNOWN = -2, PINNED = -1 };  // else the number of a device
constexpr int MOST = 16;

struct Machine {
  int capability[2] = {9, 0};
  int physical[MOST];  // which GPU each visible one is
  int visible = 0;
  size_t memory;

  Machine() {
    int gpus = number("SIM_GPUS", 2);
    memory = size_t(number("SIM_GPU_MIB", 4096)) << 20;
    if (const char* text = getenv("SIM_GPU_CAPABILITY")) sscanf(text, "%d.%d", &capability[0], &capability[1]);
    const char* chosen = getenv("CUDA_VISIBLE_DEVICES");
    if (!chosen) {
      for (; visible < gpus && visible < MOST; visible++) physical[visible] = visible;
      return;
    }
    std::string list = std::string(chosen) + ",";  // the driver stops at the first entry that it does not know
    for (size_t begin = 0, end; (end = list.find(',', begin)) != std::string::npos; begin = end + 1) {
      int gpu = find(list.substr(begin, end - begin), gpus);
      if (gpu < 0 || visible == MOST) break;
      physical[visible++] = gpu;
    }
  }
  static int number(const char* name, int usual) {
    const char* text = getenv(name);
    return text && *text ? atoi(text) : usual;
  }
  static int find(const std::string& entry, int gpus) {  // an index, or the beginning of "GPU-<uuid>"
    char* rest;
    long index = strtol(entry.c_str(), &rest, 10);
    if (!entry.empty() && !*rest) return index >= 0 && index < gpus ? int(index) : -1;
    for (int gpu = 0; gpu < gpus; gpu++) {
      char name[64] = "GPU-";
      for (int byte = 0; byte < 16; byte++)
        sprintf(name + strlen(name), "%02x%s", gpu + 1, byte == 3 || byte == 5 || byte == 7 || byte == 9 ? "-" : "");
      if (entry.size() > 4 && std::string(name).compare(0, entry.size(), entry) == 0) return gpu;
    }
    return -1;
  }
};

Machine& machine() {
  static Machine* one = new Machine;
  return *one;
}

struct Memory {
  struct Block {
    size_t size;
    int place;
  };
  std::map<const char*, Block> blocks;
  size_t used[MOST] = {};
  std::mutex busy;

  cudaError_t take(void** out, size_t size, int place) {
    std::lock_guard<std::mutex> held(busy);
    *out = nullptr;
    if (place >= 0 && used[place] + size > machine().memory) return cudaErrorMemoryAllocation;
    if (posix_memalign(out, 512, size + 1)) return cudaErrorMemoryAllocation;
    if (place >= 0) {
      memset(*out, 0x7f, size);  // 3e38 in every type of float: what is read before it is written is seen
      used[place] += size;
    }
    blocks[static_cast<char*>(*out)] = {size, place};
    return cudaSuccess;
  }
  cudaError_t give_back(void* address) {
    std::lock_guard<std::mutex> held(busy);
    auto found = blocks.find(static_cast<char*>(address));
    if (!address) return cudaSuccess;
    if (found == blocks.end()) return cudaErrorInvalidValue;
    if (found->second.place >= 0) used[found->second.place] -= found->second.size;
    blocks.erase(found);
    free(address);
    return cudaSuccess;
  }
  int place_of(const void* address) {
    std::lock_guard<std::mutex> held(busy);
    auto after = blocks.upper_bound(static_cast<const char*>(address));
    if (after == blocks.begin()) return UNKNOWN;
    --after;
    return static_cast<const char*>(address) <= after->first + after->second.size ? after->second.place : UNKNOWN;
  }
};

Memory& memory() {
  static Memory* one = new Memory;
  return *one;
}

thread_local int current = 0;
thread_local cudaError_t latest = cudaSuccess;

cudaError_t told(cudaError_t error) {
  if (error != cudaSuccess) latest = error;
  return error;
}

cudaError_t made(void** handle) {  // streams and events: something to point at
  *handle = calloc(1, 64);
  return cudaSuccess;
}

double& time_of(cudaEvent_t event) { return *reinterpret_cast<double*>(event); }

void* anything() {
  static char one[64];
  return one;
}

}  // namespace

// --- devices
EXPORT cudaError_t cudaGetDeviceCount(int* count) {
  *count = machine().visible;
  return told(*count ? cudaSuccess : cudaErrorNoDevice);
}
EXPORT cudaError_t cudaGetDevice(int* device) { return *device = current, cudaSuccess; }
EXPORT cudaError_t cudaSetDevice(int device) {
  if (device < 0 || device >= machine().visible) return told(cudaErrorInvalidDevice);
  current = device;
  return cudaSuccess;
}
EXPORT cudaError_t cudaGetDeviceProperties(cudaDeviceProp* p, int device) {
  if (device < 0 || device >= machine().visible) return told(cudaErrorInvalidDevice);
  *p = cudaDeviceProp{};
  int gpu = machine().physical[device];
  snprintf(p->name, sizeof p->name, "Simulated GPU");
  memset(p->uuid.bytes, gpu + 1, sizeof p->uuid.bytes);
  p->pciBusID = gpu + 1;
  p->major = machine().capability[0];
  p->minor = machine().capability[1];
  p->totalGlobalMem = machine().memory;
  p->multiProcessorCount = 108;
  p->warpSize = 32;
  p->maxThreadsPerBlock = p->maxThreadsDim[0] = p->maxThreadsDim[1] = 1024;
  p->maxThreadsDim[2] = 64;
  p->maxThreadsPerMultiProcessor = 2048;
  p->maxBlocksPerMultiProcessor = 32;
  p->maxGridSize[0] = 2147483647;
  p->maxGridSize[1] = p->maxGridSize[2] = 65535;
  p->regsPerBlock = p->regsPerMultiprocessor = 65536;
  p->sharedMemPerBlock = 49152;
  p->sharedMemPerBlockOptin = 166912;
  p->sharedMemPerMultiprocessor = 167936;
  p->l2CacheSize = 40 << 20;
  p->memPitch = 2147483647;
  p->textureAlignment = 512;
  p->memoryBusWidth = 5120;
  p->unifiedAddressing = p->concurrentKernels = 1;
  return cudaSuccess;
}
EXPORT cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  cudaDeviceProp p;
  if (cudaError_t error = cudaGetDeviceProperties(&p, device)) return error;
  static const std::map<int, int cudaDeviceProp::*> fields = {
      {cudaDevAttrMaxThreadsPerBlock, &cudaDeviceProp::maxThreadsPerBlock},
      {cudaDevAttrMultiProcessorCount, &cudaDeviceProp::multiProcessorCount},
      {cudaDevAttrWarpSize, &cudaDeviceProp::warpSize},
      {cudaDevAttrMaxRegistersPerBlock, &cudaDeviceProp::regsPerBlock},
      {cudaDevAttrMaxRegistersPerMultiprocessor, &cudaDeviceProp::regsPerMultiprocessor},
      {cudaDevAttrMaxThreadsPerMultiProcessor, &cudaDeviceProp::maxThreadsPerMultiProcessor},
      {cudaDevAttrMaxBlocksPerMultiprocessor, &cudaDeviceProp::maxBlocksPerMultiProcessor},
      {cudaDevAttrComputeCapabilityMajor, &cudaDeviceProp::major},
      {cudaDevAttrComputeCapabilityMinor, &cudaDeviceProp::minor},
      {cudaDevAttrL2CacheSize, &cudaDeviceProp::l2CacheSize},
      {cudaDevAttrUnifiedAddressing, &cudaDeviceProp::unifiedAddressing},
  };
  auto field = fields.find(attribute);
  *value = field != fields.end()                               ? p.*(field->second)
           : attribute == cudaDevAttrMaxSharedMemoryPerBlock      ? int(p.sharedMemPerBlock)
           : attribute == cudaDevAttrMaxSharedMemoryPerBlockOptin ? int(p.sharedMemPerBlockOptin)
           : attribute == cudaDevAttrMaxGridDimX                  ? p.maxGridSize[0]
           : attribute == cudaDevAttrMaxGridDimY || attribute == cudaDevAttrMaxGridDimZ ? p.maxGridSize[1]
                                                                                        : 0;
  return cudaSuccess;
}
EXPORT cudaError_t cudaDeviceCanAccessPeer(int* can, int, int) { return *can = 0, cudaSuccess; }
EXPORT cudaError_t cudaDeviceGetPCIBusId(char* text, int size, int device) {
  return snprintf(text, size, "0000:%02x:00.0", machine().physical[device] + 1), cudaSuccess;
}
EXPORT cudaError_t cudaRuntimeGetVersion(int* version) { return *version = CUDART_VERSION, cudaSuccess; }
EXPORT cudaError_t cudaDriverGetVersion(int* version) { return *version = CUDART_VERSION, cudaSuccess; }

// --- memory
EXPORT cudaError_t cudaMalloc(void** out, size_t size) { return told(memory().take(out, size, current)); }
EXPORT cudaError_t cudaMallocManaged(void** out, size_t size, unsigned) { return cudaMalloc(out, size); }
EXPORT cudaError_t cudaMallocAsync(void** out, size_t size, cudaStream_t) { return cudaMalloc(out, size); }
EXPORT cudaError_t cudaHostAlloc(void** out, size_t size, unsigned) { return told(memory().take(out, size, PINNED)); }
EXPORT cudaError_t cudaMallocHost(void** out, size_t size) { return cudaHostAlloc(out, size, 0); }
EXPORT cudaError_t cudaFree(void* address) { return told(memory().give_back(address)); }
EXPORT cudaError_t cudaFreeAsync(void* address, cudaStream_t) { return cudaFree(address); }
EXPORT cudaError_t cudaFreeHost(void* address) { return cudaFree(address); }
EXPORT cudaError_t cudaMemGetInfo(size_t* free_, size_t* all) {
  *all = machine().memory;
  *free_ = *all - memory().used[current];
  return cudaSuccess;
}
EXPORT cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* found, const void* address) {
  int place = memory().place_of(address);
  *found = cudaPointerAttributes{};
  found->type = place == UNKNOWN  ? cudaMemoryTypeUnregistered
                : place == PINNED ? cudaMemoryTypeHost
                                  : cudaMemoryTypeDevice;
  found->device = place < 0 ? current : place;
  if (place != UNKNOWN) found->devicePointer = const_cast<void*>(address);
  if (place == PINNED) found->hostPointer = const_cast<void*>(address);
  return cudaSuccess;
}
EXPORT cudaError_t cudaMemcpy(void* to, const void* from, size_t size, cudaMemcpyKind) {
  return memmove(to, from, size), cudaSuccess;
}
EXPORT cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t size, cudaMemcpyKind kind, cudaStream_t) {
  return cudaMemcpy(to, from, size, kind);
}
EXPORT cudaError_t cudaMemcpyPeerAsync(void* to, int, const void* from, int, size_t size, cudaStream_t) {
  return cudaMemcpy(to, from, size, cudaMemcpyDeviceToDevice);
}
EXPORT cudaError_t cudaMemset(void* to, int value, size_t size) { return memset(to, value, size), cudaSuccess; }
EXPORT cudaError_t cudaMemsetAsync(void* to, int value, size_t size, cudaStream_t) { return cudaMemset(to, value, size); }

// --- streams and events: all work is over when it is asked for
EXPORT cudaError_t cudaStreamCreate(cudaStream_t* s) { return made(reinterpret_cast<void**>(s)); }
EXPORT cudaError_t cudaStreamCreateWithFlags(cudaStream_t* s, unsigned) { return cudaStreamCreate(s); }
EXPORT cudaError_t cudaStreamCreateWithPriority(cudaStream_t* s, unsigned, int) { return cudaStreamCreate(s); }
EXPORT cudaError_t cudaStreamIsCapturing(cudaStream_t, cudaStreamCaptureStatus* status) {
  return *status = cudaStreamCaptureStatusNone, cudaSuccess;
}
EXPORT cudaError_t cudaStreamGetCaptureInfo(cudaStream_t, cudaStreamCaptureStatus* status, unsigned long long* id,
                                            cudaGraph_t*, const cudaGraphNode_t**, const cudaGraphEdgeData**, size_t* n) {
  if (id) *id = 0;
  if (n) *n = 0;
  return *status = cudaStreamCaptureStatusNone, cudaSuccess;
}
EXPORT cudaError_t cudaStreamGetPriority(cudaStream_t, int* priority) { return *priority = 0, cudaSuccess; }
EXPORT cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  if (least) *least = 0;
  if (greatest) *greatest = -5;
  return cudaSuccess;
}
EXPORT cudaError_t cudaEventCreate(cudaEvent_t* event) { return made(reinterpret_cast<void**>(event)); }
EXPORT cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) { return cudaEventCreate(event); }
EXPORT cudaError_t cudaEventDestroy(cudaEvent_t event) { return free(event), cudaSuccess; }
EXPORT cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t) {
  time_of(event) = std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
  return cudaSuccess;
}
EXPORT cudaError_t cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t s, unsigned) {
  return cudaEventRecord(event, s);
}
EXPORT cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t begin, cudaEvent_t end) {
  return *milliseconds = float(1e3 * (time_of(end) - time_of(begin))), cudaSuccess;
}

// --- errors
EXPORT cudaError_t cudaPeekAtLastError() { return latest; }
EXPORT cudaError_t cudaGetLastError() {
  cudaError_t error = latest;
  latest = cudaSuccess;
  return error;
}
EXPORT const char* cudaGetErrorName(cudaError_t error) { return error ? "cudaErrorSimulated" : "cudaSuccess"; }
EXPORT const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaErrorMemoryAllocation ? "out of memory"
         : error == cudaErrorNoDevice       ? "no CUDA-capable device is detected"
         : error == cudaErrorInvalidDevice  ? "invalid device ordinal"
         : error == cudaSuccess             ? "no error"
                                            : "error of the simulated GPU";
}

// --- kernels: known, and never run
EXPORT void** __cudaRegisterFatBinary(void*) { return static_cast<void**>(anything()); }
EXPORT cudaError_t __cudaGetKernel(cudaKernel_t* kernel, const void*) {
  return *kernel = static_cast<cudaKernel_t>(anything()), cudaSuccess;
}
EXPORT cudaError_t __cudaPopCallConfiguration(dim3* grid, dim3* block, size_t* shared, void* stream) {
  *grid = *block = dim3{1, 1, 1};
  *shared = 0;
  *static_cast<void**>(stream) = nullptr;
  return cudaSuccess;
}
EXPORT cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* found, const void*) {
  *found = cudaFuncAttributes{};
  found->maxThreadsPerBlock = 1024;
  found->numRegs = 32;
  found->binaryVersion = found->ptxVersion = 10 * machine().capability[0] + machine().capability[1];
  return cudaSuccess;
}
EXPORT cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks, const void*, int, size_t, unsigned) {
  return *blocks = 2, cudaSuccess;
}
EXPORT cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, const void*, int, size_t) {
  return *blocks = 2, cudaSuccess;
}
EXPORT cudaError_t cudaGetDriverEntryPointByVersion(const char*, void** found, unsigned, unsigned long long,
                                                    cudaDriverEntryPointQueryResult* result) {
  if (result) *result = cudaDriverEntryPointSymbolNotFound;
  return *found = nullptr, cudaSuccess;
}
