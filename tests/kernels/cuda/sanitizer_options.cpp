// What the sanitizers of these programs do by default: the first report ends the program. LibTorch
// keeps what it allocated until the end, so leaks are not looked for.
extern "C" {
const char* __asan_default_options() {
  return "detect_leaks=0:abort_on_error=0";
}
const char* __ubsan_default_options() {
  return "print_stacktrace=1";
}
const char* __tsan_default_options() {
  return "halt_on_error=1";
}
}
