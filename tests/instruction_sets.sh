#!/usr/bin/env bash
# instruction_sets.sh VOXOT KERNELS_AVX512.O: nothing compiled for AVX-512 can be called on a processor without it. Of the
# object that holds the kernels compiled for it only contracts are the program's (kernels/CMakeLists.txt), and in the
# program its instructions stand in local functions alone. A template of the standard library or a vtable that the linker
# took from there would stop the program on such a processor.
set -euo pipefail
program=$1 object=$2
status=0
contracts=$(nm --defined-only -g "$object" | awk '$2 == "V" && $3 ~ /^_ZN5voxot7kernels/' | wc -l)
others=$(nm --defined-only -g "$object" | awk '!($2 == "V" && $3 ~ /^_ZN5voxot7kernels/)')
echo "$contracts contracts are the program's"
((contracts > 0)) || status=1
if [[ -n "$others" ]]; then
  printf 'not contracts, and the program'"'"'s:\n%s\n' "$others"
  status=1
fi
{ nm "$program" && echo == && objdump -d --no-show-raw-insn "$program"; } | awk '
  !code && $0 == "==" { code = 1; next }
  !code { if (NF == 3) global[$1] = $2 ~ /^[A-Z]$/ || $2 == "u"; next }
  /^[0-9a-f]+ <.*>:$/ { address = $1; name = $2; next }
  /%zmm|%k[0-7]|%[xy]mm(1[6-9]|2[0-9]|3[01])|1to(2|4|8|16)\}|vpternlog|vpsra[v]?q|vextract[fi](32|64)x|vinsert[fi](32|64)x|vperm[ti]2|vmovdq[au](8|16|32|64)|vrndscale|vp(min|max)[su]q/ {
    if (address in seen) next
    seen[address] = 1
    count++
    if (global[address]) { print "AVX-512 in " name; bad = 1 }
  }
  END {
    print count + 0 " functions with instructions of AVX-512"
    exit bad || count == 0
  }' || status=1
exit $status
