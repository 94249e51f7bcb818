package nat

import (
	"regexp"
	"strings"
)

var (
	hiddenWord    = regexp.MustCompile(`^<.*>$|^\[.*\]$`)
	hiddenAddress = regexp.MustCompile(`^([0-9]+|[xX*#]+|[A-Za-z]{1,2})(\.([0-9]+|[xX*#]+|[A-Za-z]{1,2})){3}$`)
	hiddenMAC     = regexp.MustCompile(`^([0-9a-fA-F]{1,2}|[xXyYzZ*#]{1,2})(:([0-9a-fA-F]{1,2}|[xXyYzZ*#]{1,2})){5,}$`)
	leftOut       = regexp.MustCompile(`^(?i:[.\x{2026}]{2,}|\x{2026}|\[ ?(\.{2,}|\x{2026}) ?\]|[<\[(]\W*(snip|snipped|cut|truncated|omitted|redacted|removed|output (truncated|omitted|snipped))\W*[>\])]|-+ ?(snip|8<|>8) ?-+|-+ ?more ?-+|(\d+ )?(more )?(rules|lines|entries) (omitted|removed|skipped|snipped)\.*)$`)
)

// BlackedOut reports whether a word stands for an address, of IP or of Ethernet, that whoever posted a text has hidden: x.x.x.x, 10.1.*.*, <public-ip>, AA.BB.CC.DD,
// 52:54:00:xx:xx:xx.
func BlackedOut(word string) bool {
	return hiddenWord.MatchString(word) || hiddenAddress.MatchString(word) && strings.Trim(word, "0123456789.") != "" ||
		hiddenMAC.MatchString(word) && strings.Trim(word, "0123456789abcdefABCDEF:") != ""
}

// LeftOut reports whether a line stands for others that whoever posted a text took out of it: "...", "[snip]".
func LeftOut(line string) bool {
	return leftOut.MatchString(strings.TrimSpace(line))
}
