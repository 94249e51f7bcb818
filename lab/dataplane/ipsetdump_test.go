package dataplane

import (
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat/ipset"
)

// What Linux 6.18 answered, of sets of all types that it had, is printed so that the sets are read as from ipset save.
func TestPrintSet(t *testing.T) {
	recorded, err := os.ReadFile("testdata/ipsets-6.18.hex")
	require.NoError(t, err)
	save, err := os.ReadFile("testdata/ipsets-6.18.save")
	require.NoError(t, err)
	var b strings.Builder
	for line := range strings.FieldsSeq(string(recorded)) {
		message, err := hex.DecodeString(line)
		require.NoError(t, err)
		require.NoError(t, printSet(&b, message[4:]))
	}
	got, err := ipset.Parse(b.String())
	require.NoError(t, err, b.String())
	want, err := ipset.Parse(strings.Replace(string(save), "maxelem 4", "maxelem 4 forceadd", 1)) // which ipset 7.17 does not print
	require.NoError(t, err)
	require.Len(t, got, len(want))
	for name, set := range want {
		require.Equal(t, set, got[name], name)
	}
}
