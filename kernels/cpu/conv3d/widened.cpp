#include "kernels/cpu/conv3d/widened.h"

#include <vector>

#include "kernels/cpu/scalar.h"
#include "kernels/sizes.h"

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
  if (room.size() < to_size(count)) room.resize(to_size(count));
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

const float* rounded(const void* weights, std::int64_t count, float scale, std::vector<float>& room) {
  const float* const values = static_cast<const float*>(weights);
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

void widened_forward(const Conv3dFloat& run, const Conv3dParams& p, const Conv3dForward& f) {
  Rooms& r = rooms();
  const Conv3dEpilogue& e = f.epilogue;
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
  run.forward(p, {.x = widen(f.x, in_count(p), r.in),
                  .weight = rounded(f.weight, p.weight_count(), e.scale, r.weight),
                  .epilogue = plain,
                  .y = out});
  narrow(out, out_count(p), f.y, Write::overwrite);
}

void widened_grad_input(const Conv3dFloat& run, const Conv3dParams& p, const Conv3dGradInput& g) {
  Rooms& r = rooms();
  float* const in = room_for(r.in, in_count(p));
  run.grad_input(p, {.grad_y = widen(g.grad_y, out_count(p), r.out),
                     .weight = rounded(g.weight, p.weight_count(), g.scale, r.weight),
                     .grad_x = in});
  narrow(in, in_count(p), g.grad_x, g.write);
}

void widened_grad_weight(const Conv3dFloat& run, const Conv3dParams& p, const Conv3dGradWeight& g) {
  Rooms& r = rooms();
  Conv3dGradWeight wide = g;
  wide.x = widen(g.x, in_count(p), r.in);
  wide.grad_y = widen(g.grad_y, out_count(p), r.out);
  run.grad_weight(p, wide);
}

}  // namespace voxot::cpu
