#include "kernels/cpu/conv3d/widened.h"

#include <vector>

#include "kernels/cpu/scalar.h"

namespace voxot::cpu {
namespace {

/// Room of a thread that is kept for the next call.
struct Rooms {
  std::vector<float> in, out, residual, weight, bias;
};
Rooms& rooms() {
  static thread_local Rooms all;
  return all;
}

float* room_for(std::vector<float>& room, std::int64_t count) {
  if (room.size() < static_cast<std::size_t>(count)) room.resize(static_cast<std::size_t>(count));
  return room.data();
}

/// A volume as fp32.
const float* widen(const void* volume, std::int64_t count, std::vector<float>& room) {
  const bf16* const from = static_cast<const bf16*>(volume);
  float* const to = room_for(room, count);
  each(count, [=](std::int64_t i) { to[i] = load(from[i]); });
  return to;
}

void narrow(const float* from, std::int64_t count, void* volume, Write write) {
  bf16* const to = static_cast<bf16*>(volume);
  with_write(write, [&]<Write W>() { each(count, [=](std::int64_t i) { put<W>(to[i], from[i]); }); });
}

const float* rounded(const float* values, std::int64_t count, float scale, std::vector<float>& room) {
  float* const to = room_for(room, count);
  each(count, [=](std::int64_t i) {
    bf16 value;
    store(value, scale * values[i]);
    to[i] = load(value);
  });
  return to;
}

std::int64_t in_count(const Conv3dParams& p) { return p.batch * p.in_voxels() * p.in_channels; }
std::int64_t out_count(const Conv3dParams& p) { return p.batch * p.out_voxels() * p.out_channels; }

}  // namespace

void widened_forward(const Conv3dFloat& run, const Conv3dParams& p, const void* x, const float* w,
                     const Conv3dEpilogue& e, void* y) {
  Rooms& r = rooms();
  Conv3dEpilogue plain = e;
  plain.scale = 1;
  plain.statistics = {};
  if (e.bias != nullptr) {
    float* const bias = room_for(r.bias, p.out_channels);
    for (std::int64_t q = 0; q < p.out_channels; ++q)
      bias[q] = e.scale * static_cast<const float*>(e.bias)[q];
    plain.bias = bias;
  }
  if (e.residual != nullptr) plain.residual = widen(e.residual, out_count(p), r.residual);
  float* const out = room_for(r.out, out_count(p));
  run.forward(p, widen(x, in_count(p), r.in), rounded(w, p.weight_count(), e.scale, r.weight), plain, out);
  narrow(out, out_count(p), y, Write::overwrite);
}

void widened_grad_input(const Conv3dFloat& run, const Conv3dParams& p, const void* grad_y, const float* w,
                        float scale, void* grad_x, Write write) {
  Rooms& r = rooms();
  float* const in = room_for(r.in, in_count(p));
  run.grad_input(p, widen(grad_y, out_count(p), r.out), rounded(w, p.weight_count(), scale, r.weight), 1, in);
  narrow(in, in_count(p), grad_x, write);
}

void widened_grad_weight(const Conv3dFloat& run, const Conv3dParams& p, const void* x, const void* grad_y,
                         float scale, float* grad_weight, float* grad_bias, Write write) {
  Rooms& r = rooms();
  run.grad_weight(p, widen(x, in_count(p), r.in), widen(grad_y, out_count(p), r.out), scale, grad_weight,
                  grad_bias, write);
}

}  // namespace voxot::cpu
