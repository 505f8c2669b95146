#include "engine/buffer.h"

#include <array>

#include "kernels/gather.h"

namespace voxot {

Tensor gather_rows(const Tensor& t, const Buffer<std::int32_t>& rows) {
  VOXOT_CHECK(t.defined() && t.shape().rank() >= 1 && t.count() > 0, "gather_rows: there are no rows");
  VOXOT_CHECK(rows.device() == t.device(), "gather_rows: rows on {}, their numbers on {}",
              name_of(t.device()), name_of(rows.device()));
  std::array<std::int64_t, Shape::kMaxRank> extents{};
  std::copy(t.shape().extents().begin(), t.shape().extents().end(), extents.begin());
  extents[0] = rows.count();
  Tensor out = Tensor::empty(Shape(std::span(extents).first(t.shape().rank())), t.dtype(), t.device());
  kernels::gather_rows(t.stream(), t.dtype(),
                       {.width = t.count() / t.extent(0),
                        .count = rows.count(),
                        .from = t.data(),
                        .rows = rows.data(),
                        .out = out.data()});
  return out;
}

}  // namespace voxot
