# Makes the house's comments Doxygen's: the comment above a header's includes is the file's, a comment above a member of a
# struct or behind it is the member's. Comments are plain text. Lines stay where they are.
function plain(text) {
  gsub(/[\\<>@#]/, "\\\\&", text)
  return text
}
FNR == 1 { head = 1 }
head && /^#pragma once/ { print "/// \\file"; next }
head && /^\/\// { print "///" plain(substr($0, 3)); next }
head && NF { head = 0 }
/^ *\/\/\/?/ {
  at = match($0, /\/\/\/?/)
  print substr($0, 1, at - 1) "///" plain(substr($0, at + RLENGTH))
  next
}
match($0, /[;,{}(] +\/\/ /) {
  print substr($0, 1, RSTART) " ///< " plain(substr($0, RSTART + RLENGTH))
  next
}
{ print }
