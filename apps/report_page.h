#pragma once
// Runs side by side: the rows of `voxot report --json`, and one HTML page that needs nothing but itself.
#include <span>
#include <string>
#include <string_view>

#include "apps/run_record.h"

namespace voxot {

/// A JSON array with one object for each run, null where a value is not known; with a line end.
std::string report_rows(std::span<const RunRecord> runs);

/// The whole page: template, style and scripts of apps/report/, and the runs as JSON within.
std::string report_page(std::span<const RunRecord> runs);

/// RFC 4648, with padding.
std::string base64(std::span<const std::byte> bytes);

/// apps/report/ in one text, put together when voxot is built (apps/report/embed.cmake); kReportData stands
/// where the data belongs.
extern const std::string_view kReportPage;
inline constexpr std::string_view kReportData = "@report-data@";

}  // namespace voxot
