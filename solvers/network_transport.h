#pragma once
// T(x, z) by one network: how every command applies a trained map.
#include "models/noise.h"
#include "models/trainable.h"
#include "solvers/solver.h"

namespace voxot {

/// A network, its noise and perhaps its averaged weights, as a capability.
class NetworkTransport final : public Transport {
 public:
  /// `average`: the moving average of the map's weights that is applied in their place where it has begun;
  /// null for the weights themselves.
  NetworkTransport(const Trainable<TransportMap>& map, const NoiseOptions& noise,
                   MovingAverage* average = nullptr)
      : map_(map), noise_(noise), average_(average) {}

  /// In evaluation mode. Throws Error for extents that the network or the noise does not take.
  Tensor apply(const Tensor& x, const RandomState& noise) override;
  [[nodiscard]] bool stochastic() const override { return map_->noise_channels() > 0; }
  void set_noise_deviation(double deviation) override { noise_.deviation = deviation; }

 private:
  Trainable<TransportMap> map_;
  NoiseOptions noise_;
  MovingAverage* average_;
  Tape tape_;
};

/// A map without the solver that trained it. Its network holds the weights to apply, averaged ones where
/// there is an average.
class TrainedMap final : public Trained {
 public:
  TrainedMap(const Trainable<TransportMap>& map, const NoiseOptions& noise) : transport_(map, noise) {}
  [[nodiscard]] Capabilities capabilities() override { return {.transport = &transport_}; }

 private:
  NetworkTransport transport_;
};

}  // namespace voxot
