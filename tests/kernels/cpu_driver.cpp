// Runs the operator's CPU code without torch, for test_aarch64.py: cpu_driver <input file> <output file>.
//
// The input is 20 integers of 64 bits (bytes of a number, layout, threads, the fields of Shape), and then input, offset, mask,
// weight and bias. The output is the values. Prints the instruction set.
//
// With 0 bytes of a number, it runs a layer in float32 (layers.h): layout is then 1 for Winograd's method, and deformable_groups
// is 0 for a convolution. The input is then the images, weight, bias and, for a deformable convolution, offsets and logits.
#include <stdio.h>

#include <thread>
#include <vector>

#include "cpu.h"
#include "layers.h"

using namespace centernet;

static void run_on_threads(int64_t workers, Body body, void* context) {
  std::vector<std::thread> threads;
  for (int64_t worker = 0; worker < workers; ++worker) threads.emplace_back(body, context, worker);
  for (std::thread& thread : threads) thread.join();
}

template <typename T>
static bool run(const Shape& s, Layout layout, const Threads& threads, FILE* from, FILE* to) {
  const int64_t planes = s.deformable_groups * taps_of(s) * out_pixels_of(s), outputs = s.out_channels * out_pixels_of(s);
  const int64_t sizes[] = {s.batch * s.channels * pixels_of(s), 2 * s.batch * planes, s.batch * planes,
                           s.out_channels * (s.channels / s.groups) * taps_of(s), s.out_channels};
  std::vector<std::vector<T>> in;
  for (int64_t size : sizes) {
    in.emplace_back(size);
    if (fread(in.back().data(), sizeof(T), size, from) != static_cast<size_t>(size)) return false;
  }
  std::vector<T> output(s.batch * outputs);
  forward<T>(s, in[0].data(), in[1].data(), in[2].data(), in[3].data(), in[4].data(), output.data(), layout, threads);
  fwrite(output.data(), sizeof(T), output.size(), to);
  return true;
}

static bool run_layer(const Shape& s, bool winograd, const Threads& threads, FILE* from, FILE* to) {
  const int64_t outputs = s.batch * out_pixels_of(s) * s.out_channels;
  const int64_t sizes[] = {s.batch * s.channels * pixels_of(s), s.out_channels * s.channels * taps_of(s), s.out_channels,
                           s.batch * out_pixels_of(s) * 3 * s.deformable_groups * taps_of(s)};
  std::vector<std::vector<float>> in;
  for (int64_t size : sizes) {
    in.emplace_back(size);
    if (fread(in.back().data(), sizeof(float), size, from) != static_cast<size_t>(size)) return false;
  }
  const Window w = {s.batch, s.height, s.width, s.channels, s.out_height, s.out_width, s.out_channels, s.kernel_height,
                    s.kernel_width, s.stride_height, s.padding_height, s.padding_width};
  const Method method = {winograd, false};
  if (!has_method(w, method)) return false;
  std::vector<float> packed(packed_size(w, method)), output(outputs);
  pack_convolution(w, method, in[1].data(), in[2].data(), packed.data(), threads);
  const Finish finish = {nullptr, false, output.data(), w.out_height, w.out_width, 1, 0, 0};
  if (s.deformable_groups) {
    deform(s, in[0].data(), in[3].data(), packed.data(), finish, threads);
  } else {
    convolve(w, in[0].data(), packed.data(), finish, threads);
  }
  fwrite(output.data(), sizeof(float), output.size(), to);
  return true;
}

int main(int count, char** arguments) {
  FILE *from = count == 3 ? fopen(arguments[1], "rb") : nullptr, *to = from ? fopen(arguments[2], "wb") : nullptr;
  int64_t h[20];
  if (!to || fread(h, sizeof h, 1, from) != 1) return 2;
  const Shape s = {h[3], h[4], h[5], h[6], h[7], h[8], h[9], h[10], h[11], h[12], h[13], h[14], h[15], h[16], h[17], h[18], h[19]};
  const Threads threads = {h[2], run_on_threads};
  const Layout layout = h[1] ? kChannelsLast : kChannelsFirst;
  const bool read = h[0] == 0   ? run_layer(s, h[1] != 0, threads, from, to)
                    : h[0] == 4 ? run<float>(s, layout, threads, from, to)
                                : run<double>(s, layout, threads, from, to);
  puts(instruction_set());
  return read && fclose(to) == 0 ? 0 : 2;
}
