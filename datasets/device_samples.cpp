#include "datasets/device_samples.h"

#include <utility>

#include "kernels/check.h"
#include "kernels/volumes.h"

namespace voxot {
DeviceSamples::DeviceSamples(const VolumeParams& params, Tensor images, Order order,
                             std::span<const std::int32_t> digits)
    : params_(params), table_(std::move(images)), order_(order) {
  params.validate();
  const Shape& s = table_.shape();
  VOXOT_CHECK(s.rank() == 3 && s[0] >= 1 && s[1] == params.image_height() && s[2] == params.image_width() &&
                  table_.dtype() == DType::f32,
              "device samples: images {} {}, expected items×{}×{} fp32", s.text(), name_of(table_.dtype()),
              params.image_height(), params.image_width());
  keep_digits(digits);
}

DeviceSamples::DeviceSamples(Tensor volumes, Order order, std::span<const std::int32_t> digits)
    : table_(std::move(volumes)), order_(order) {
  const Shape& s = table_.shape();
  VOXOT_CHECK(s.rank() == 5 && s.count() >= 1 && table_.dtype() == DType::f32,
              "device samples: volumes {} {}, expected items×D×H×W×C fp32", s.text(),
              name_of(table_.dtype()));
  keep_digits(digits);
}

void DeviceSamples::keep_digits(std::span<const std::int32_t> digits) {
  if (digits.empty()) return;
  VOXOT_CHECK(std::cmp_equal(digits.size(), table_.extent(0)), "device samples: {} digits for {} items",
              digits.size(), table_.extent(0));
  digits_ = Buffer<std::int32_t>::from(digits, device());
}

Buffer<VolumeSample> DeviceSamples::choose(const BatchPart& part) const {
  VOXOT_CHECK(part.first >= 0 && part.count >= 1 && part.first + part.count <= part.batch &&
                  part.batch <= (std::int64_t{1} << 20),
              "draw: expected a part of a batch of 1 to 2^20 samples, got [{}, {}) of {}", part.first,
              part.first + part.count, part.batch);
  Buffer<VolumeSample> samples(part.count, device());
  kernels::draw_samples(samples.stream(), params_.value_or(VolumeParams{}), table_.extent(0), {part, order_},
                        samples.data());
  return samples;
}

Tensor DeviceSamples::volumes_of(const Buffer<VolumeSample>& chosen) const {
  const std::int64_t count = chosen.count();
  const VolumeSample* const samples = chosen.data();
  const Shape& s = table_.shape();
  if (!params_) {
    Tensor out = Tensor::empty({count, s[1], s[2], s[3], s[4]}, DType::f32, device());
    kernels::gather_volumes(out.stream(), s.count() / s[0], table_.as<float>(), count, samples,
                            out.as<float>());
    return out;
  }
  Tensor out =
      Tensor::empty({count, params_->extent[0], params_->extent[1], params_->extent[2], params_->channels()},
                    DType::f32, device());
  kernels::paint_volumes(out.stream(), *params_, table_.as<float>(), count, samples, out.as<float>());
  return out;
}

Buffer<std::int32_t> DeviceSamples::digits_of(const Buffer<VolumeSample>& chosen) const {
  VOXOT_CHECK(digits_.defined(), "device samples: digits are asked for of items without any");
  Buffer<std::int32_t> out(chosen.count(), device());
  kernels::gather_labels(out.stream(), digits_.data(), chosen.count(), chosen.data(), out.data());
  return out;
}

}  // namespace voxot
