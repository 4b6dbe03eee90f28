// The few functions of CUDA's driver that torch asks by name. cuInit fails, so that cuBLAS, cuDNN and NCCL, which find
// the driver by themselves, see no device.
#define EXPORT extern "C" __attribute__((visibility("default")))

EXPORT int cuInit(unsigned) { return 100; }
EXPORT int cuDriverGetVersion(int* version) { return *version = 13020, 0; }
EXPORT int cuDevicePrimaryCtxGetState(int, unsigned* flags, int* active) { return *flags = 0, *active = 1, 0; }
EXPORT int cuCtxGetCurrent(void** context) {
  static int one;
  return *context = &one, 0;
}
EXPORT int cuGetErrorString(int, const char** text) { return *text = "error of the simulated driver", 0; }
