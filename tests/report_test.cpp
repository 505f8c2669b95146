// voxot report: rows and the page of hand-made runs, whole, unscored and damaged; the record of sessions.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "apps/picture.h"
#include "apps/report_page.h"
#include "engine/npy.h"
#include "kernels/sizes.h"
#include "tests/temp_directory.h"

namespace {

using namespace voxot;
using nlohmann::json;
namespace fs = std::filesystem;

void write(const fs::path& file, const std::string& text) { std::ofstream(file, std::ios::binary) << text; }

constexpr const char* kMetrics =
    R"({"step":5,"kind":"train","transport_loss":0.5,"cost":0.25,"potential_loss":-1.0}
{"step":10,"kind":"train","transport_loss":null,"cost":0.125,"potential_loss":-2.0}
{"step":10,"kind":"validate","target_accuracy":0.75,"transport_cost":0.5,"colour_kept":1.0}
)";

Scores scores() {
  Scores s;
  s.set("samples", 64);
  s.set("step", 10);
  s.set("judge_accuracy", 0.99);
  s.set("target_accuracy", 0.75);
  s.set("target_accuracy_by_colour", "red", 0.5);
  s.set("target_accuracy_by_colour", "green", 1.0);
  s.set("colour_kept", 0.5);
  s.set("transport_cost", 0.03);
  s.set("discrete_cost", 0.04);
  s.set("feature_distance", 9);
  s.set("feature_distance_real", 3);
  s.set("diversity/draws", 8);
  s.set("diversity/variance", 0.02);
  s.set("diversity/shape", 0.01);
  s.set("diversity/colour_kept", 0.5);
  s.set("diversity/by_colour", "green", 0.01);
  s.set("diversity/by_colour", "red", 0.03);
  s.set("diversity/by_class", "3", 0.02);
  s.set("l2_uvp", 1.5);
  s.set("cosine", 0.75);
  return s;
}

HostArray volumes(std::vector<std::int64_t> shape) {
  std::vector<float> values(to_size(count_of(FileType::f32, shape)), -1.0F);
  for (std::size_t i = 0; i < values.size(); i += 3) values[i] = 1.0F;
  return HostArray::from_floats(std::move(shape), values);
}

void write_samples(const fs::path& run, const std::vector<std::int64_t>& shape) {
  write_npz(run / "samples/last.npz",
            {{"source", volumes(shape)}, {"mapped", volumes(shape)}, {"target", volumes(shape)}});
}

/// A scored run of ten steps in two sessions.
fs::path make_run(const fs::path& folder) {
  fs::create_directories(folder / "samples");
  fs::create_directories(folder / "checkpoints");
  RunConfig config = parse_config("[source]\nclasses = [3]\n[target]\nclasses = [5]\n", "test");
  config.solver.steps = 10;
  config.source.dataset = config.target.dataset = "digits";
  write(folder / "config.toml", to_toml(config));
  write(folder / "metrics.jsonl", kMetrics);
  write(folder / "evaluation.json", scores_json(scores()));
  append_session(folder, {0, 6, 1.5, "processor", 2, "fp32", "0.1.0", "abc"});
  append_session(folder, {6, 10, 1.25, "processor", 2, "fp32", "0.1.0", ""});
  write_samples(folder, {2, 3, 4, 4, 4});
  for (const char* step : {"0000003", "0000006", "0000008", "0000010"})
    write_png(folder / "samples" / ("step-" + std::string(step) + ".png"), Image(4, 4, {1, 2, 3}));
  return folder;
}

json row_of(const fs::path& folder) { return json::parse(report_rows(read_runs({folder.string()}))).at(0); }

std::string page_of(const std::vector<std::string>& folders) { return report_page(read_runs(folders)); }

/// The JSON within the page, as a browser takes it: up to the next end of a script.
json data_of(const std::string& page) {
  const std::string begin = "id=\"report-data\">";
  const std::size_t from = page.find(begin) + begin.size();
  return json::parse(page.substr(from, page.find("</script", from) - from)).at("runs");
}

bool has_note(const json& row, const std::string& part) {
  CAPTURE(row.at("notes").dump(), part);
  return std::any_of(row.at("notes").begin(), row.at("notes").end(), [&](const json& note) {
    return note.get<std::string>().find(part) != std::string::npos;
  });
}

}  // namespace

TEST_CASE("report: the row of a scored run", "[report]") {
  const test::TempDirectory directory;
  const json row = row_of(make_run(directory / "first"));
  CHECK(row.at("name") == "first");
  CHECK(row.at("data") == "digits 3 → 5");
  CHECK(row.at("colour") == "four");
  CHECK(row.at("rotation") == "none");
  CHECK(row.at("form") == "strong");
  CHECK(row.at("target_accuracy") == 0.75);
  CHECK(row.at("target_accuracy_by_colour") == json{{"red", 0.5}, {"green", 1.0}});
  CHECK(row.at("colour_kept") == 0.5);
  CHECK(row.at("cost_ratio").get<double>() == Approx(0.75));
  CHECK(row.at("feature_ratio").get<double>() == Approx(3));
  CHECK(row.at("diversity") == 0.02);
  CHECK(row.at("diversity_of_shape") == 0.01);
  CHECK(row.at("diversity_colour_kept") == 0.5);
  CHECK(row.at("cosine") == 0.75);
  CHECK(row.at("judge_accuracy") == 0.99);
  CHECK(row.at("l2_uvp") == 1.5);
  CHECK(row.at("steps") == 10);
  CHECK(row.at("seconds") == 2.75);
  CHECK(row.at("device") == "processor");
  CHECK(row.at("seed") == 0);
  CHECK(row.at("notes").empty());
}

TEST_CASE("report: what differs between source and target, and data without digits", "[report]") {
  const test::TempDirectory directory;
  const fs::path folder = make_run(directory / "run");
  const auto with = [&](const std::string& text) {
    write(folder / "config.toml", to_toml(parse_config(text, "test")));
    return row_of(folder);
  };
  json row = with(
      "[source]\ndataset = \"digits\"\nclasses = [1, 2]\ncolour = \"six\"\n"
      "[target]\ndataset = \"mnist3d\"\ncolour = \"four\"\nrotation = \"one_axis\"\nrotation_degrees = 30\n");
  CHECK(row.at("data") == "digits 1, 2 → mnist3d all");
  CHECK(row.at("colour") == "six → four");
  CHECK(row.at("rotation") == "none → one_axis ±30°");
  row = with(
      "[transport]\nmodel = \"mlp\"\n[potential]\nmodel = \"mlp\"\n"
      "[source]\ndataset = \"gaussian\"\ndimension = 7\n[target]\ndataset = \"gaussian\"\ndimension = 7\n");
  CHECK(row.at("data") == "gaussian D = 7 → D = 7");
  CHECK(row.at("colour").is_null());
  CHECK(row.at("rotation").is_null());
}

TEST_CASE("report: an unscored and interrupted run is listed with notes", "[report]") {
  const test::TempDirectory directory;
  const fs::path folder = make_run(directory / "run");
  fs::remove(folder / "evaluation.json");
  fs::remove(folder / "sessions.jsonl");
  fs::remove_all(folder / "samples");
  write(folder / "metrics.jsonl", "{\"step\":5,\"kind\":\"train\",\"cost\":0.25}\n");
  const json row = row_of(folder);
  for (const char* key : {"target_accuracy", "colour_kept", "transport_cost", "cost_ratio", "feature_ratio",
                          "seconds", "device"})
    CHECK(row.at(key).is_null());
  CHECK(row.at("steps") == 5);
  CHECK(has_note(row, "not scored"));
  CHECK(has_note(row, "stopped at step 5 of 10"));
  CHECK(has_note(row, "no samples/last.npz"));
  const json data = data_of(page_of({folder.string()})).at(0);
  CHECK(data.at("grid").is_null());
  CHECK(data.at("volumes").empty());
}

TEST_CASE("report: seconds of a run whose first session was killed say so", "[report]") {
  const test::TempDirectory directory;
  const fs::path folder = make_run(directory / "run");
  fs::remove(folder / "sessions.jsonl");
  append_session(folder, {6, 10, 1.25, "processor", 2, "fp32", "0.1.0", ""});
  CHECK(has_note(row_of(folder), "those of 4 of 10 steps"));
}

TEST_CASE("report: truncated and damaged files become notes, the rest is shown", "[report]") {
  const test::TempDirectory directory;
  const fs::path folder = make_run(directory / "run");
  SECTION("metrics.jsonl, cut in its last line") {
    const std::string metrics = kMetrics;
    write(folder / "metrics.jsonl", metrics.substr(0, metrics.size() - 9));
    const json data = data_of(page_of({folder.string()})).at(0);
    CHECK(data.at("row").at("notes").empty());
    CHECK(data.at("curves").at("train/cost").at("values") == json{0.25, 0.125});
    CHECK_FALSE(data.at("curves").contains("validate/target_accuracy"));
  }
  SECTION("metrics.jsonl, damaged within") {
    write(folder / "metrics.jsonl", std::string("{\"step\":1,\"ki\n[]\n") + kMetrics);
    CHECK(has_note(row_of(folder), "2 damaged lines"));
  }
  SECTION("last.npz") {
    for (const double part : {0.0, 0.4, 0.99}) {
      write_samples(folder, {2, 3, 4, 4, 4});
      const fs::path file = folder / "samples/last.npz";
      fs::resize_file(file, static_cast<std::uintmax_t>(part * static_cast<double>(fs::file_size(file))));
      CHECK(has_note(row_of(folder), "last.npz"));
      CHECK(data_of(page_of({folder.string()})).at(0).at("grid").is_null());
    }
  }
  SECTION("evaluation.json") {
    for (const char* text : {"", "{\"target_accuracy\": 0.5", "[]", "{\"target_accuracy\": \"high\"}"}) {
      write(folder / "evaluation.json", text);
      const json row = row_of(folder);
      CHECK(has_note(row, "evaluation.json: expected the scores"));
      CHECK(row.at("transport_cost").is_null());
    }
  }
  SECTION("a sample picture") {
    fs::resize_file(folder / "samples/step-0000003.png", 20);
    CHECK(has_note(row_of(folder), "step-0000003.png"));
  }
  SECTION("sessions.jsonl") {
    write(folder / "sessions.jsonl",
          R"({"first_step":0,"last_step":6,"seconds":1.5,"device":"p","threads":2,)"
          "\"precision\":\"fp32\"}\nrubbish\n{\"first_st");
    CHECK(row_of(folder).at("seconds") == 1.5);
    append_session(folder, {6, 10, 1, "p", 2, "fp32", "0.1.0", ""});
    CHECK(row_of(folder).at("seconds") == 2.5);
  }
}

TEST_CASE("report: folders that are no runs are refused", "[report]") {
  const test::TempDirectory directory;
  CHECK_THROWS_WITH(read_runs({(directory / "nowhere").string()}), Catch::Contains("config.toml"));
  CHECK_THROWS_WITH(read_runs({directory.path().string()}), Catch::Contains("config.toml"));
}

TEST_CASE("report: names: one folder once, equal names by their paths", "[report]") {
  const test::TempDirectory directory;
  const std::string a = make_run(directory / "a/run").string();
  const std::string b = make_run(directory / "b/run").string();
  const auto runs = read_runs({a + "/", b, a});
  REQUIRE(runs.size() == 2);
  CHECK(runs[0].name == a + "/");
  CHECK(runs[1].name == b);
  CHECK(read_runs({a + "/"}).at(0).name == "run");
}

TEST_CASE("report: the page holds everything itself, and no name can break out of the data", "[report]") {
  const test::TempDirectory directory;
  const std::string hostile = "a\"'&é\\<!--\xff<";
  const fs::path folder = make_run(directory / hostile / "script><script>alert(1)<");
  const std::string page = page_of({folder.string()});
  const json data = data_of(page).at(0);
  CHECK(data.at("row").at("name") == "script><script>alert(1)<");
  CHECK(data.at("row").at("run").get<std::string>().find("</script><script>") != std::string::npos);
  // Neither the hostile name nor the data adds an element: the count is that of the template.
  const auto count = [&](const std::string& text) {
    std::size_t found = 0;
    for (std::size_t at = page.find(text); at != std::string::npos; at = page.find(text, at + 1)) ++found;
    return found;
  };
  CHECK(count("<script") == 2);
  CHECK(count("</script") == 2);
  CHECK(count("<!--") == 1);
  for (const char* reference :
       {"http://", "https://", "src=", "href=", "url(", "@import", "import(", "fetch("})
    CHECK(page.find(reference) == std::string::npos);
  CHECK(page.find("default-src 'none'") != std::string::npos);
  CHECK(page.find(kReportData) == std::string::npos);
}

TEST_CASE("report: curves, pictures and volumes in the page", "[report]") {
  const test::TempDirectory directory;
  const fs::path folder = make_run(directory / "run");
  json data = data_of(page_of({folder.string()})).at(0);
  CHECK(data.at("curves").at("train/transport_loss").at("values") == json{0.5, nullptr});
  CHECK(data.at("curves").at("train/transport_loss").at("steps") == json{5, 10});
  REQUIRE(data.at("pictures").size() == 3);  // of four
  CHECK(data.at("pictures").at(0).at("step") == 3);
  CHECK(data.at("pictures").at(1).at("step") == 8);
  CHECK(data.at("pictures").at(2).at("step") == 10);
  CHECK(data.at("grid").get<std::string>().starts_with("data:image/png;base64,iVBORw0KGgo"));
  const json source = data.at("volumes").at("source");
  CHECK(source.at("shape") == json{2, 4, 4, 4, 3});
  CHECK(source.at("bytes").get<std::string>().size() == 2 * 64 * 3 / 3 * 4);

  write_samples(folder, {2, 1, 1, 3, 5});
  CHECK(data_of(page_of({folder.string()})).at(0).at("volumes").at("mapped").at("shape") ==
        json{2, 1, 3, 5, 1});
  write_samples(folder, {2, 6, 1, 1, 1});  // vectors
  data = data_of(page_of({folder.string()})).at(0);
  CHECK(data.at("volumes").empty());
  CHECK(data.at("row").at("notes").empty());
  write_samples(folder, {2, 2, 4, 4, 4});
  CHECK(has_note(row_of(folder), "2 channels cannot be drawn"));
}

TEST_CASE("report: volumes of many voxels come with fewer samples, long curves with fewer points",
          "[report]") {
  const test::TempDirectory directory;
  const fs::path folder = make_run(directory / "run");
  write_samples(folder, {4, 3, 64, 64, 64});
  std::string metrics;
  for (int step = 1; step <= 9001; ++step)
    metrics += "{\"step\":" + std::to_string(step) + ",\"kind\":\"train\",\"cost\":0.5}\n";
  write(folder / "metrics.jsonl", metrics);
  const json data = data_of(page_of({folder.string()})).at(0);
  CHECK(data.at("volumes").at("source").at("shape").at(0) == 1);
  const json steps = data.at("curves").at("train/cost").at("steps");
  CHECK(steps.size() <= 2001);
  CHECK(steps.size() > 1500);
  CHECK(steps.front() == 1);
  CHECK(steps.back() == 9001);
}

TEST_CASE("report: base64 as RFC 4648 has it", "[report]") {
  const auto encoded = [](std::string_view text) { return base64(test::as_bytes(text)); };
  CHECK(encoded("").empty());
  CHECK(encoded("f") == "Zg==");
  CHECK(encoded("fo") == "Zm8=");
  CHECK(encoded("foo") == "Zm9v");
  CHECK(encoded("foobar") == "Zm9vYmFy");
  CHECK(encoded("\xff\xfe\xfd") == "//79");
}

TEST_CASE("report: scores read back as they were written", "[report]") {
  const Scores s = scores();
  CHECK(scores_json(parse_scores(scores_json(s), "scores")) == scores_json(s));
  Scores counts;
  counts.set("samples", 3);
  counts.set("step", 4);
  CHECK(scores_json(parse_scores(scores_json(counts), "scores")) == scores_json(counts));
  // An earlier version's has fewer.
  CHECK(parse_scores(R"({"samples": 3, "step": 4, "cosine": 0.5})", "scores").get("cosine") == 0.5);
  CHECK_THROWS_WITH(parse_scores("null", "scores"), Catch::StartsWith("scores: expected"));
}

TEST_CASE("report: one list of scores makes table, file and columns", "[report]") {
  const Scores s = scores();
  const json file = json::parse(scores_json(s));
  CHECK(file.at("target_accuracy_by_colour") == json{{"red", 0.5}, {"green", 1.0}});
  CHECK(file.at("diversity").at("by_class") == json{{"3", 0.02}});
  CHECK(file.at("samples") == 64);
  const std::string table = scores_table(s);
  CHECK_THAT(table, Catch::Contains("target accuracy              0.7500   ") &&
                        Catch::Contains("  red                        0.5000") &&
                        Catch::Contains("L2-UVP                     1.5000 %   "));
  Scores few;
  few.set("samples", 3);
  few.refuse("target_accuracy", "refused", "the judge is not trusted");
  CHECK_THAT(scores_table(few), Catch::Contains("refused   the judge is not trusted") &&
                                    !Catch::Contains("L2-UVP") && !Catch::Contains("judge_accuracy"));
  const json unknown = json::parse(scores_json(few));
  for (const char* key :
       {"target_accuracy", "colour_kept", "transport_cost", "discrete_cost", "feature_distance",
        "feature_distance_real", "l2_uvp", "cosine", "judge_accuracy"}) {
    INFO(key);
    CHECK(unknown.at(key).is_null());
  }
  CHECK(unknown.at("target_accuracy_by_colour") == json::object());
  CHECK_FALSE(unknown.contains("diversity"));
  CHECK_THROWS_WITH(few.set("acuracy", 1), Catch::Contains("no score is called acuracy"));
  std::set<std::string> columns;
  for (const ScoreKind& kind : score_kinds()) {
    if (kind.column[0] != '\0') CHECK(columns.insert(kind.column).second);
  }
}
