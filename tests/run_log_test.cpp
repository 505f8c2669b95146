// metrics.jsonl: exact numbers, whole lines, and the same bytes after an interruption; the progress line.
#include "engine/run_log.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/progress.h"
#include "kernels/check.h"
#include "tests/temp_directory.h"

using namespace voxot;

namespace {

std::string content_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

void train(RunLog& log, std::int64_t first, std::int64_t last) {
  for (std::int64_t step = first; step <= last; ++step) {
    log.record(step, "train", std::vector<Metric>{{"loss", 1.0 / static_cast<double>(step)}});
    if (step % 2 == 0) {
      log.record(step, "validate", std::vector<Metric>{{"accuracy", 0.1 * static_cast<double>(step)}});
    }
  }
}

}  // namespace

TEST_CASE("run log: a record is one line of JSON with exact numbers", "[run_log]") {
  const std::vector<Metric> metrics = {
      {"third", 1.0 / 3},    {"tiny", std::numeric_limits<double>::denorm_min()},    {"float", double{0.1F}},
      {"nan", std::nan("")}, {"infinite", -std::numeric_limits<double>::infinity()}, {"whole", 3},
      {"a \"name\"\n", -0.0}};
  const std::string line = metrics_line(5, "train", metrics);
  CHECK(line.find('\n') == line.size() - 1);
  const auto json = nlohmann::json::parse(line);
  CHECK(json["step"] == 5);
  CHECK(json["kind"] == "train");
  CHECK(json["third"].get<double>() == 1.0 / 3);
  CHECK(json["tiny"].get<double>() == std::numeric_limits<double>::denorm_min());
  CHECK(json["float"].get<double>() == double{0.1F});
  CHECK(json["nan"].is_null());
  CHECK(json["infinite"].is_null());
  CHECK(json["whole"].get<double>() == 3);
  CHECK(std::signbit(json["a \"name\"\n"].get<double>()));
  CHECK(metrics_line(1, "train", std::vector<Metric>{{"x", 0.1}}) ==
        "{\"step\":1,\"kind\":\"train\",\"x\":0.1}\n");
}

TEST_CASE("run log: an interrupted and resumed run leaves the same bytes", "[run_log]") {
  const test::TempDirectory folder;
  std::string whole;
  {
    RunLog log(folder.path());
    train(log, 1, 10);
    whole = content_of(log.path());
  }
  std::filesystem::remove(folder / "metrics.jsonl");
  {
    RunLog log(folder.path());
    train(log, 1, 7);
  }
  std::ofstream(folder / "metrics.jsonl", std::ios::app | std::ios::binary) << "{\"step\":8,\"kind\":\"tra";
  {
    RunLog log(folder.path());
    log.truncate_after(4);
    CHECK(content_of(log.path()).find("\"step\":5") == std::string::npos);
    train(log, 5, 10);
  }
  CHECK(content_of(folder / "metrics.jsonl") == whole);
}

TEST_CASE("run log: truncation to the last step changes nothing, -1 empties", "[run_log]") {
  const test::TempDirectory folder;
  RunLog log(folder.path());
  log.truncate_after(3);
  CHECK(content_of(log.path()).empty());
  train(log, 1, 4);
  const std::string before = content_of(log.path());
  log.truncate_after(4);
  CHECK(content_of(log.path()) == before);
  log.truncate_after(-1);
  CHECK(content_of(log.path()).empty());
  train(log, 1, 4);
  CHECK(content_of(log.path()) == before);
}

TEST_CASE("run log: damaged lines are dropped and counted", "[run_log]") {
  const test::TempDirectory folder;
  const std::string good = "{\"step\":1,\"kind\":\"train\"}\n";
  const auto after_damage = [&](const std::string& text) {
    std::ofstream(folder / "metrics.jsonl", std::ios::binary) << text;
    RunLog log(folder.path());
    const std::int64_t damaged = log.truncate_after(9);
    return std::pair(damaged, content_of(log.path()));
  };
  CHECK(after_damage(good + std::string(20, '\0') + '\n') == std::pair(std::int64_t{1}, good));
  CHECK(after_damage(good + "{\"step\":\"x\"}\n{\n" + good) == std::pair(std::int64_t{2}, good + good));
  CHECK(after_damage(good + "{\"step\":2") == std::pair(std::int64_t{0}, good));  // cut off by a kill
}

TEST_CASE("run log: a folder that is missing is an error", "[run_log]") {
  CHECK_THROWS_AS(RunLog("/nonexistent/voxot/run"), Error);
}

TEST_CASE("progress: the line shows step, rate, time left and numbers", "[progress]") {
  const std::vector<Metric> metrics = {{"transport_loss", 0.012345}, {"potential_loss", -1}};
  CHECK(progress_line("train", 5, 300, 2.5, metrics) ==
        "train   5/300  2.50 it/s  1:58 left  transport_loss 0.01235  potential_loss -1");
  CHECK(progress_line("train", 1, 10, 0.25, {}) == "train  1/10  4.00 s/it  0:36 left");
  CHECK(progress_line("train", 0, 10, 0, {}) == "train  0/10");
  CHECK(duration_text(3723) == "1:02:03");
  CHECK(duration_text(std::numeric_limits<double>::infinity()) == "100000:00:00");
}

TEST_CASE("progress: off a terminal the first and the last step are plain lines", "[progress]") {
  std::FILE* file = std::tmpfile();
  REQUIRE(file != nullptr);
  {
    Progress progress("train", 100, 0, file);
    for (int step = 1; step <= 100; ++step) {
      progress.update(step);
      if (step == 50) {
        progress.message("a checkpoint");
      }
    }
  }
  std::rewind(file);
  std::string text(4096, '\0');
  text.resize(std::fread(text.data(), 1, text.size(), file));
  std::fclose(file);
  CHECK(text.find('\r') == std::string::npos);
  CHECK_THAT(text, Catch::StartsWith("train   1/100"));
  CHECK_THAT(text, Catch::Contains("\na checkpoint\n"));
  CHECK_THAT(text, Catch::Contains("\ntrain 100/100"));
  CHECK(std::count(text.begin(), text.end(), '\n') == 3);
}
