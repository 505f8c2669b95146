// Numbers in a run's records that no run wrote: readers leave them out, or refuse them by name.
#include <catch2/catch.hpp>

#include "apps/run_curves.h"
#include "apps/scores.h"
#include "apps/session_log.h"
#include "engine/json_number.h"
#include "engine/run_log.h"
#include "tests/temp_directory.h"

using namespace voxot;
using nlohmann::json;

TEST_CASE("records: a JSON number becomes an integer only within its range", "[records]") {
  const auto integer = [](const char* text) { return json_integer(json::parse(text), -5, 1'000'000'000); };
  CHECK(integer("7") == 7);
  CHECK(integer("-5") == -5);
  CHECK(integer("1000000000") == 1'000'000'000);
  for (const char* text :
       {"1e300", "-1e300", "1.5", "3.0", "-6", "1000000001", "9223372036854775807", "9223372036854775808",
        "18446744073709551615", "-9223372036854775808", "\"7\"", "true", "null", "[7]", "{}"}) {
    INFO(text);
    CHECK_FALSE(integer(text).has_value());
  }
  CHECK(json_number(json::parse("18446744073709551615"), 0, 1e30) == 0x1p64);
  CHECK_FALSE(json_number(json::parse("1e300"), 0, 1e12).has_value());
  CHECK_FALSE(json_number(json::parse("true"), 0, 1e12).has_value());
}

TEST_CASE("records: sessions of steps that no run has are left out", "[records]") {
  const std::string good =
      R"({"first_step":0,"last_step":24,"seconds":1.5,"device":"x","threads":2,"precision":"fp32"})"
      "\n";
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string line = good;
    line.replace(line.find(from), from.size(), to);
    return line;
  };
  REQUIRE(parse_sessions(good + good).size() == 2);
  for (const auto& [from, to] :
       std::initializer_list<std::pair<std::string, std::string>>{{":0,", ":1e300,"},
                                                                  {":0,", ":-9223372036854775808,"},
                                                                  {":24", ":9223372036854775807"},
                                                                  {":0,", ":25,"},
                                                                  {":2,", ":1e300,"},
                                                                  {":1.5", ":-1"},
                                                                  {":1.5", ":1e300"},
                                                                  {":\"x\"", ":7"},
                                                                  {"\"threads\"", "\"thread\""}}) {
    INFO(with(from, to));
    CHECK(parse_sessions(with(from, to) + good).size() == 1);
  }
  CHECK(parse_sessions("[1]\n\n{\n" + good).size() == 1);
  CHECK(parse_sessions(good + good.substr(0, good.size() - 1)).size() == 1);
}

TEST_CASE("records: curves and the log leave out steps that no run has", "[records]") {
  const std::string text =
      "{\"step\":5,\"kind\":\"train\",\"cost\":0.25}\n"
      "{\"step\":1e300,\"kind\":\"train\",\"cost\":1}\n"
      "{\"step\":18446744073709551615,\"kind\":\"train\",\"cost\":1}\n"
      "{\"step\":-1,\"kind\":\"train\",\"cost\":1}\n"
      "{\"step\":6,\"kind\":\"train\",\"cost\":null}\n";
  const Curves curves = parse_curves(text);
  CHECK(curves.damaged == 3);
  CHECK(curves.last_step == 6);
  CHECK(curves.by_name.at("train/cost").steps == std::vector<std::int64_t>{5, 6});
}

TEST_CASE("records: scores of impossible counts are refused with the number", "[records]") {
  Scores scores;
  scores.set("samples", 64);
  scores.set("step", 10);
  const std::string good = scores_json(scores);
  const auto refusal = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    text.replace(text.find(from), from.size(), to);
    return test::error_of([&] { (void)parse_scores(text, "evaluation.json"); });
  };
  CHECK(refusal("\"step\": 10", "\"step\": 11").empty());
  CHECK(refusal("\"step\": 10", "\"step\": -1e300") ==
        "evaluation.json: step: expected a whole number from 0 to 1000000000, got -1e+300");
  CHECK_THAT(
      refusal("\"samples\": 64", "\"samples\": 18446744073709551615"),
      Catch::Contains("samples: expected a whole number") && Catch::Contains("got 18446744073709551615"));
  CHECK_THAT(refusal("\"samples\": 64", "\"samples\": \"64\""), Catch::Contains("got \"64\""));
}
