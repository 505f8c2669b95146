#include "engine/ops/resample.h"

namespace voxot::ops {
namespace {

struct UpsampleNode : Node {
  UpsampleParams params;
  SlotRef x_slot;

  void backward(Tensor grad) override {
    const auto to = x_slot->destination();
    kernels::upsample_backward(grad.stream(), grad.dtype(), params, grad.data(), to.data, to.write);
  }
};

void slice_gradient(const Tensor& grad, std::int64_t offset, const SlotRef& slot) {
  const std::int64_t pitch = grad.shape().back();
  const std::int64_t width = slot->shape.back();
  const auto to = slot->destination();
  kernels::copy_channels(grad.stream(), grad.dtype(),
                         {.rows = grad.count() / pitch,
                          .width = width,
                          .from = {.rows = grad.data(), .pitch = pitch, .offset = offset},
                          .to = {.rows = to.data, .pitch = width},
                          .write = to.write});
}

struct ConcatNode : Node {
  SlotRef a_slot, b_slot;
  std::int64_t split = 0;

  void backward(Tensor grad) override {
    if (a_slot != nullptr) slice_gradient(grad, 0, a_slot);
    if (b_slot != nullptr) slice_gradient(grad, split, b_slot);
  }
};

struct ConcatUpsampledNode : Node {
  UpsampleParams params;
  SlotRef skip_slot, x_slot;

  void backward(Tensor grad) override {
    if (skip_slot != nullptr) slice_gradient(grad, 0, skip_slot);
    if (x_slot == nullptr) return;
    const auto to = x_slot->destination();
    kernels::upsample_backward(grad.stream(), grad.dtype(), params, grad.data(), to.data, to.write);
  }
};

UpsampleParams infer(const Tensor& x, const std::array<std::int64_t, 3>& factor) {
  VOXOT_CHECK(x.shape().rank() == 5, "upsample: input {} is not N×D×H×W×C", x.shape().text());
  for (const std::int64_t f : factor) VOXOT_CHECK(f >= 1, "upsample: factor {} must be positive", f);
  UpsampleParams p;
  p.batch = x.extent(0);
  p.channels = x.extent(4);
  p.in_extent = {x.extent(1), x.extent(2), x.extent(3)};
  p.factor = factor;
  return p;
}

void copy_part(const Tensor& from, const Tensor& to, std::int64_t offset) {
  const std::int64_t width = from.shape().back();
  kernels::copy_channels(from.stream(), from.dtype(),
                         {.rows = from.count() / width,
                          .width = width,
                          .from = {.rows = from.data(), .pitch = width},
                          .to = {.rows = to.data(), .pitch = to.shape().back(), .offset = offset}});
}

}  // namespace

Tensor upsample(Tape& tape, const Tensor& x, const std::array<std::int64_t, 3>& factor, Upsampling mode) {
  UpsampleParams p = infer(x, factor);
  p.trilinear = mode == Upsampling::trilinear;
  Tensor y = Tensor::empty(
      {p.batch, x.extent(1) * factor[0], x.extent(2) * factor[1], x.extent(3) * factor[2], p.channels},
      x.dtype(), x.device());
  kernels::upsample_forward(x.stream(), x.dtype(), p, x.data(), y.data());
  if (tape.records(x)) {
    UpsampleNode node;
    node.params = p;
    node.x_slot = Tape::slot(x);
    tape.record(y, std::move(node));
  }
  return y;
}

Tensor concat_channels(Tape& tape, const Tensor& a, const Tensor& b) {
  const std::size_t rank = a.shape().rank();
  VOXOT_CHECK(rank >= 2 && rank == b.shape().rank() && a.dtype() == b.dtype() &&
                  a.count() / a.shape().back() == b.count() / b.shape().back(),
              "concat_channels: {} {} with {} {}", a.shape().text(), name_of(a.dtype()), b.shape().text(),
              name_of(b.dtype()));
  std::array<std::int64_t, Shape::kMaxRank> extents{};
  for (std::size_t i = 0; i + 1 < rank; ++i) {
    VOXOT_CHECK(a.extent(i) == b.extent(i), "concat_channels: {} with {}", a.shape().text(),
                b.shape().text());
    extents[i] = a.extent(i);
  }
  extents[rank - 1] = a.shape().back() + b.shape().back();
  Tensor y = Tensor::empty(Shape(std::span<const std::int64_t>(extents.data(), rank)), a.dtype(), a.device());
  copy_part(a, y, 0);
  copy_part(b, y, a.shape().back());
  if (tape.records(a, b)) {
    ConcatNode node;
    node.a_slot = Tape::slot(a);
    node.b_slot = Tape::slot(b);
    node.split = a.shape().back();
    tape.record(y, std::move(node));
  }
  return y;
}

Tensor concat_upsampled(Tape& tape, const Tensor& skip, const Tensor& x) {
  VOXOT_CHECK(skip.shape().rank() == 5 && x.shape().rank() == 5 && skip.dtype() == x.dtype(),
              "concat_upsampled: {} {} with {} {}", skip.shape().text(), name_of(skip.dtype()),
              x.shape().text(), name_of(x.dtype()));
  VOXOT_CHECK(skip.extent(0) == x.extent(0), "concat_upsampled: {} and {} differ in batch",
              skip.shape().text(), x.shape().text());
  std::array<std::int64_t, 3> factor{};
  for (std::size_t a = 0; a < 3; ++a) {
    VOXOT_CHECK(skip.extent(a + 1) % x.extent(a + 1) == 0, "concat_upsampled: {} is not a multiple of {}",
                skip.shape().text(), x.shape().text());
    factor[a] = skip.extent(a + 1) / x.extent(a + 1);
  }
  UpsampleParams p = infer(x, factor);
  p.offset = skip.extent(4);
  p.pitch = p.offset + p.channels;
  Tensor y = Tensor::empty({p.batch, skip.extent(1), skip.extent(2), skip.extent(3), p.pitch}, x.dtype(),
                           x.device());
  copy_part(skip, y, 0);
  kernels::upsample_forward(x.stream(), x.dtype(), p, x.data(), y.data());
  if (tape.records(skip, x)) {
    ConcatUpsampledNode node;
    node.params = p;
    node.skip_slot = Tape::slot(skip);
    node.x_slot = Tape::slot(x);
    tape.record(y, std::move(node));
  }
  return y;
}

}  // namespace voxot::ops
