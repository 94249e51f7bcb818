package nat

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBlackedOut(t *testing.T) {
	t.Parallel()
	for word, want := range map[string]bool{
		"x.x.x.x": true, "xxx.xxx.xxx.xxx": true, "***.1.2.3": true, "yy:yy:yy:yy:yy:yy": true, "ZZ:ZZ:ZZ:00:00:01": true, "10.1.*.**": true, "<public-ip>": true, "AA.BB.CC.DD": true, "[redacted]": true, "xx:xx:xx:xx:xx:xx": true, "52:54:00:XX:XX:XX": true, "52:54:00:**:**:**": true,
		"192.0.2.1": false, "52:54:00:aa:bb:cc": false, "fe80::1": false, "2001:db8:1:2:3:4:5:6": false, "example.org": false, "": false,
	} {
		require.Equal(t, want, BlackedOut(word), word)
	}
	for line, want := range map[string]bool{
		"...": true, " \u2026 ": true, "[...]": true, "<snip>": true, "--More--": true, "12 entries omitted": true, "lines skipped...": true, "3 more rules removed": true, "[snipped]": true, "[cut]": true, "<truncated>": true, "[... omitted ...]": true,
		"<redacted>": true, "[removed]": true, "[output truncated]": true, "--- snip ---": true, "-----8<-----": true, "-- >8 --": true, "cut": false, "removed": false, "": false, "tcp 6 100": false, "default via 192.0.2.1": false,
	} {
		require.Equal(t, want, LeftOut(line), line)
	}
}
