package dataplane

import (
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/lab/netns"
	"natlab/nat/ipset"
)

// What Linux 6.18 answered, of sets of all types that it had, is printed so that the sets are read as from ipset save.
func TestPrintSet(t *testing.T) {
	recorded, err := os.ReadFile("testdata/ipsets-6.18.hex")
	require.NoError(t, err)
	save, err := os.ReadFile("testdata/ipsets-6.18.save")
	require.NoError(t, err)
	var b strings.Builder
	kinds := map[string]string{}
	for line := range strings.FieldsSeq(string(recorded)) {
		message, err := hex.DecodeString(line)
		require.NoError(t, err)
		require.NoError(t, printSet(&b, message[4:], kinds))
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

// A set of more members than a message of the kernel holds is read whole.
func TestDumpLargeSet(t *testing.T) {
	t.Parallel()
	name := fmt.Sprintf("natlab-sets-%d", os.Getpid())
	h, err := netns.CreateLeased(name)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, h.Close())
		require.NoError(t, netns.Delete(name))
	})
	var text strings.Builder
	text.WriteString("create large hash:ip,port,net family inet\n")
	for i := range 1000 {
		fmt.Fprintf(&text, "add large 10.0.%d.%d,tcp:80,10.1.0.0/24\n", i/250, i%250)
	}
	require.NoError(t, h.Do(func() error {
		cmd := exec.CommandContext(t.Context(), "ipset", "restore")
		cmd.Stdin = strings.NewReader(text.String())
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}))
	saved, err := DumpSets(h)
	require.NoError(t, err)
	sets, err := ipset.Parse(saved)
	require.NoError(t, err)
	require.Len(t, sets["large"].Members(), 1000)
}
