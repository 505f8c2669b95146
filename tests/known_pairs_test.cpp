// Data sets whose optimal map is known: moments, the closed forms, benchmark files good and hostile.
#include <Eigen/Eigenvalues>

#include "datasets/gaussian.h"
#include "datasets/truth.h"
#include "datasets/w2bench.h"
#include "engine/npy.h"
#include "kernels/sizes.h"
#include "tests/dataset_helpers.h"
#include "tests/temp_directory.h"

using namespace voxot;
using namespace voxot::test;

namespace {

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

DatasetConfig gaussian(const char* role, std::int64_t dimension, std::int64_t seed = 3) {
  DatasetConfig config;
  config.dataset = "gaussian";
  config.role = role;
  config.dimension = dimension;
  config.seed = seed;
  return config;
}

DatasetConfig field(const char* role) {
  DatasetConfig config = gaussian(role, 2);
  config.field = true;
  config.resolution = 4;
  return config;
}

Matrix matrix(const std::vector<double>& v, std::int64_t columns) {
  return Eigen::Map<const Matrix>(v.data(), std::ssize(v) / columns, columns);
}

Matrix rows(const std::vector<float>& v, std::int64_t columns) {
  return matrix({v.begin(), v.end()}, columns);
}

Matrix covariance(const Matrix& m) {
  const Matrix centred = m.rowwise() - m.colwise().mean();
  return centred.transpose() * centred / static_cast<double>(m.rows());
}

HostArray floats(std::vector<std::int64_t> shape, float value = 0.5F) {
  const auto count = to_size(count_of(FileType::f32, shape));
  return HostArray::from_floats(std::move(shape), std::vector<float>(count, value));
}

/// A benchmark file of 200 rows in three dimensions; row i of an array holds i.
std::map<std::string, HostArray> benchmark() {
  std::map<std::string, HostArray> arrays;
  for (const char* name : {"source", "target", "test_source", "test_target"}) {
    std::vector<float> values(600);
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i / 3);
    arrays[name] = HostArray::from_floats({200, 3}, values);
  }
  arrays["target_var"] = HostArray::from_floats({}, {2.5F});
  return arrays;
}

DatasetConfig benchmark_config(const std::filesystem::path& file, const char* role) {
  DatasetConfig config;
  config.dataset = "w2bench";
  config.path = file.string();
  config.role = role;
  return config;
}

}  // namespace

TEST_CASE("gaussian: samples have the mean and covariance of their seed", "[datasets]") {
  constexpr std::int64_t kSamples = 50000;
  const GaussianVectors g = gaussian_vectors(gaussian("source", 5));
  const Matrix drawn = rows(draw(gaussian("source", 5), kSamples).values, 5);
  // Deviations of the estimates: √(4/5e4) = 0.009 for a mean, √2·4/√5e4 = 0.025 for a variance.
  CHECK((drawn.colwise().mean() - matrix(g.mean, 5)).cwiseAbs().maxCoeff() < 0.045);
  CHECK((covariance(drawn) - matrix(g.covariance, 5)).cwiseAbs().maxCoeff() < 0.13);
  const Eigen::SelfAdjointEigenSolver<Matrix> spectrum(matrix(g.covariance, 5));
  CHECK(spectrum.eigenvalues().minCoeff() > 0.249);
  CHECK(spectrum.eigenvalues().maxCoeff() < 4.001);
  CHECK(gaussian_vectors(gaussian("target", 5)).covariance != g.covariance);
  CHECK(gaussian_vectors(gaussian("source", 5, 4)).covariance != g.covariance);
}

TEST_CASE("gaussian: draws are pure, and no split or role shares another's", "[datasets]") {
  for (const DatasetConfig& config : {gaussian("source", 3), field("source")}) {
    const auto train = open_dataset(config, Split::train, {});
    const std::vector<float> first = draw(*train, 4).values;
    CHECK(draw(*train, 4).values == first);
    CHECK(draw(*train, 4, 1).values != first);
    CHECK(draw(*train, 4, 0, 2).values != first);
    CHECK(draw(*open_dataset(config, Split::test, {}), 4).values != first);
    CHECK(train->size() == -1);
    // One sample of many is the sample alone.
    const std::vector<float> one = draw(*train, 1).values;
    for (std::size_t i = 0; i < one.size(); ++i) CHECK(one[i] == Approx(first[i]).epsilon(1e-5).margin(1e-6));
  }
}

TEST_CASE("gaussian: the closed form carries the source's covariance to the target's", "[datasets]") {
  for (const std::int64_t n : {1, 2, 16}) {
    const GaussianVectors p = gaussian_vectors(gaussian("source", n));
    const GaussianVectors q = gaussian_vectors(gaussian("target", n));
    const Matrix a = matrix(optimal_matrix(p, q), n);
    CHECK((a * matrix(p.covariance, n) * a - matrix(q.covariance, n)).cwiseAbs().maxCoeff() < 1e-9);
    // Symmetric and positive: the gradient of a convex function, hence optimal.
    CHECK((a - a.transpose()).cwiseAbs().maxCoeff() < 1e-9);
    CHECK(Eigen::SelfAdjointEigenSolver<Matrix>(a).eigenvalues().minCoeff() > 0);
    double variance = 0;
    const std::vector<float> mean(p.mean.begin(), p.mean.end());
    const auto image = optimal_gaussian_map(gaussian("source", n), gaussian("target", n), mean, 1, &variance);
    for (std::size_t i = 0; i < image.size(); ++i) CHECK(image[i] == Approx(q.mean[i]).margin(1e-6));
    CHECK(variance == Approx(matrix(q.covariance, n).trace()));
  }
  CHECK_THROWS_AS(optimal_matrix(gaussian_vectors(gaussian("source", 2)), gaussian_vectors(gaussian("t", 3))),
                  Error);
}

TEST_CASE("gaussian: the map between fields gives the target's moments", "[datasets]") {
  constexpr std::int64_t kSamples = 4000;
  const auto truth = known_truth(field("source"), field("target"), {}, {5, Purpose::evaluation, 0}, kSamples);
  REQUIRE(truth.has_value());
  const std::int64_t values = 3 * 4 * 4 * 4;
  const Matrix image = rows(truth->image, values);
  const Matrix real = rows(draw(field("target"), kSamples).values, values);
  CHECK(covariance(real).trace() == Approx(truth->target_variance).epsilon(0.05));
  CHECK(covariance(image).trace() == Approx(truth->target_variance).epsilon(0.05));
  const double scale = covariance(real).cwiseAbs().maxCoeff();
  // Deviation of an entry: at most √2·scale/√4000 = 0.022·scale for each of the two.
  CHECK((covariance(image) - covariance(real)).cwiseAbs().maxCoeff() < 0.16 * scale);
  CHECK((covariance(rows(truth->source, values)) - covariance(real)).cwiseAbs().maxCoeff() > 0.3 * scale);
  CHECK((image.colwise().mean() - real.colwise().mean()).cwiseAbs().maxCoeff() < 0.1);
  // Neighbouring voxels go together.
  CHECK(covariance(real)(0, 3) > 0.3 * covariance(real)(0, 0));
}

TEST_CASE("truth: known of Gaussian pairs and benchmark files, of nothing else", "[datasets]") {
  const RandomState state{1, Purpose::evaluation, 0};
  CHECK_FALSE(known_truth(digits_config(), digits_config(), {}, state, 2));
  CHECK_FALSE(known_truth(gaussian("source", 2), digits_config(), {}, state, 2));
  CHECK_THROWS_AS(known_truth(gaussian("source", 2), gaussian("target", 3), {}, state, 2), UsageError);
}

TEST_CASE("w2bench: training never sees a test row, nor validation a training row", "[datasets]") {
  const TempDirectory folder;
  auto arrays = benchmark();
  arrays["test_source"] = floats({7, 3}, -1);
  arrays["test_target"] = floats({7, 3}, -2);
  write_npz(folder / "pair.npz", arrays);
  const DatasetConfig source = benchmark_config(folder / "pair.npz", "source");
  const auto train = open_dataset(source, Split::train, {});
  const auto validation = open_dataset(source, Split::validation, {});
  CHECK(train->size() + validation->size() == 200);
  CHECK(validation->size() > 3);
  CHECK(validation->size() < 40);
  for (const auto& [split, data] :
       {std::pair{Split::train, train.get()}, {Split::validation, validation.get()}}) {
    const Drawn drawn = draw(*data, 300);
    for (std::size_t i = 0; i < 300; ++i) {
      CHECK(w2bench_split_of(drawn.labels[i].item) == split);
      CHECK(drawn.values[3 * i + 1] == static_cast<float>(drawn.labels[i].item));
    }
    CHECK(draw(*data, 300).values == drawn.values);
  }
  CHECK(draw(*open_dataset(source, Split::test, {}), 1).values == std::vector<float>(3, -1));
  const DatasetConfig target = benchmark_config(folder / "pair.npz", "target");
  CHECK(draw(*open_dataset(target, Split::test, {}), 1).values == std::vector<float>(3, -2));
  const auto truth = known_truth(source, target, {}, {1, Purpose::evaluation, 0}, 2);
  REQUIRE(truth.has_value());
  CHECK(truth->count == 7);
  CHECK(truth->source == std::vector<float>(21, -1));
  CHECK(truth->image == std::vector<float>(21, -2));
  CHECK(truth->target_variance == 2.5);
  CHECK_FALSE(known_truth(target, source, {}, {1, Purpose::evaluation, 0}, 2));
  const std::filesystem::path detour =
      std::filesystem::path(target.path).parent_path() / "." / std::filesystem::path(target.path).filename();
  DatasetConfig same = target;
  same.path = detour.string();
  CHECK(known_truth(source, same, {}, {1, Purpose::evaluation, 0}, 2));
}

TEST_CASE("w2bench: hostile files are refused in a line that says what is wrong", "[datasets]") {
  const TempDirectory folder;
  const auto file = folder / "pair.npz";
  const auto opening = [&] { (void)open_dataset(benchmark_config(file, "source"), Split::train, {}); };
  CHECK_THROWS_WITH(opening(), Catch::Contains("expected a file") && Catch::Contains("pair.npz"));
  struct Case {
    const char* array;
    std::optional<HostArray> value;
    const char* message;
  };
  const Case cases[] = {
      {"test_target", {}, "no array named test_target"},
      {"target_var", {}, "no array named target_var"},
      {"target", floats({200, 4}), "target has 4 columns, source has 3"},
      {"test_source", floats({199, 3}), "test_source has 199 rows, test_target has 200"},
      {"source", floats({600}), "source: expected a matrix of floats, got f32 [600]"},
      {"source", floats({0, 3}), "expected a matrix of floats"},
      {"source", HostArray::from_int64({200, 3}, std::vector<std::int64_t>(600)), "got i64 [200, 3]"},
      {"target", floats({200, 3}, INFINITY), "target: sample 0, place [0] is inf"},
      {"target_var", floats({2}), "target_var: expected one float"},
      {"target_var", floats({1}, 0), "expected a positive number"},
  };
  for (const Case& c : cases) {
    INFO(c.message);
    auto arrays = benchmark();
    arrays.erase(c.array);
    if (c.value) arrays[c.array] = *c.value;
    write_npz(file, arrays);
    CHECK_THROWS_WITH(opening(), Catch::Contains(c.message));
  }
  write_npz(file, benchmark());
  CHECK_NOTHROW(opening());
}
