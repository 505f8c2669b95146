#!/usr/bin/env bash
# instruction_sets.sh VOXOT: instructions of AVX-512 stand only in functions of the kernels compiled for it, all of which
# are local symbols (kernels/CMakeLists.txt). One in a function that others can call, a template of the standard library
# say, would stop the program on a processor without AVX-512.
set -euo pipefail
program=$1
{ nm "$program" && echo == && objdump -d --no-show-raw-insn "$program"; } | awk '
  !code && $0 == "==" { code = 1; next }
  !code { if (NF == 3) global[$1] = $2 ~ /^[A-Z]$/ || $2 == "u"; next }
  /^[0-9a-f]+ <.*>:$/ { address = $1; name = $2; next }
  /%zmm|%k[0-7]|%[xy]mm(1[6-9]|2[0-9]|3[01])/ {
    if (address in seen) next
    seen[address] = 1
    count++
    if (global[address]) { print "AVX-512 in " name; bad = 1 }
  }
  END {
    print count + 0 " functions with instructions of AVX-512"
    exit bad || count == 0
  }'
