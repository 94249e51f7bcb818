package netns_test

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/lab/netns"
)

// holder is the environment variable that makes TestOrphans the process that dies: it holds a namespace of that name.
const holder = "NATLAB_TEST_LEASE"

// A namespace under a lease is an orphan from the moment at which its process dies, and not before.
func TestOrphans(t *testing.T) {
	if name := os.Getenv(holder); name != "" {
		_, err := netns.CreateLeased(name)
		fmt.Println("made", err)
		var b [1]byte
		_, _ = os.Stdin.Read(b[:]) // until it is killed
		return
	}
	name := fmt.Sprintf("natlab-lease-%d", os.Getpid())
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestOrphans$")
	cmd.Env = append(os.Environ(), holder+"="+name)
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	defer in.Close() //nolint:errcheck // nothing is written
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { require.NoError(t, netns.Delete(name)) })
	var word, result string
	_, err = fmt.Fscan(out, &word, &result)
	require.NoError(t, err)
	require.Equal(t, "made <nil>", word+" "+result)

	orphans, err := netns.Orphans()
	require.NoError(t, err)
	require.NotContains(t, orphans, name, "it lives")
	_, err = netns.Lease(name)
	require.ErrorIs(t, err, fs.ErrExist)

	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	require.True(t, netns.Exists(name))
	orphans, err = netns.Orphans()
	require.NoError(t, err)
	require.Contains(t, orphans, name)
	require.NoError(t, netns.Delete(name))
	orphans, err = netns.Orphans()
	require.NoError(t, err)
	require.NotContains(t, orphans, name)
}

// A lease ends with its namespace, and one without a namespace is nobody's.
func TestLeaseEnds(t *testing.T) {
	name := fmt.Sprintf("natlab-lease-%d-b", os.Getpid())
	for range 2 {
		h, err := netns.CreateLeased(name)
		require.NoError(t, err)
		require.NoError(t, netns.Delete(name))
		require.NoError(t, h.Close())
	}
	lease, err := netns.Lease(name)
	require.NoError(t, err)
	require.NoError(t, lease.Close())
	orphans, err := netns.Orphans()
	require.NoError(t, err)
	require.NotContains(t, orphans, name)
	_, err = netns.Lease("../x")
	require.Error(t, err)
	h, err := netns.CreateLeased(name)
	require.NoError(t, err)
	require.NoError(t, h.Close())
	orphans, err = netns.Orphans()
	require.NoError(t, err)
	require.Contains(t, orphans, name, "who closes its handle has no use for it")
	require.NoError(t, netns.Delete(name))
}
