# Puts HTML, CSS and SCRIPTS together and writes OUTPUT, a source file that defines voxot::kReportPage.
file(READ ${HTML} page)
file(READ ${CSS} style)
set(script "")
foreach(file IN LISTS SCRIPTS)
  file(READ ${file} text)
  string(APPEND script "${text}")
endforeach()
string(REPLACE "@report-style@" "${style}" page "${page}")
string(REPLACE "@report-script@" "${script}" page "${page}")
if(page MATCHES "\\)report\"")
  message(FATAL_ERROR "the report's page holds the end of a raw string")
endif()
file(WRITE ${OUTPUT} "// Generated from apps/report/ by embed.cmake.
#include \"apps/report_page.h\"

namespace voxot {

const std::string_view kReportPage = R\"report(${page})report\";

}  // namespace voxot
")
