package lab

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/lab/netns"
	"natlab/topology"
)

// hold makes a lab of this program's own, one that a supervisor serves as long as this program runs, and a namespace with a process
// in it, and then waits for its end.
func hold(name string) error {
	c, err := topology.Reference()
	if err != nil {
		return err
	}
	if _, err := Up(context.Background(), c, Options{Name: name}); err != nil {
		return err
	}
	if err := Start(context.Background(), c, Options{Name: name + "-s", With: os.Getpid()}); err != nil {
		return err
	}
	h, err := netns.CreateLeased(name + "-n")
	if err != nil {
		return err
	}
	if err := h.Do(func() error { return exec.Command("sleep", "600").Start() }); err != nil { //nolint:noctx // it is to be left over
		return err
	}
	fmt.Println("ready")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// A test that is killed takes the lab along that a supervisor serves for it; its own lab and its namespaces are known as left over, and
// taken away with the processes in them.
func TestAKilledTestLeavesNothing(t *testing.T) {
	t.Parallel()
	own := reference(t).Name
	cmd := exec.CommandContext(t.Context(), os.Args[0], "hold", "--name", own) //nolint:gosec // the test's own binary
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	defer in.Close() //nolint:errcheck // nothing is written
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = takeAway(context.Background(), []string{own, own + "-s"}, []string{own + "-n"}) })
	var word string
	_, err = fmt.Fscan(out, &word)
	require.NoError(t, err)
	require.Equal(t, Running, status(t, own).State)
	require.Equal(t, Running, status(t, own+"-s").State)
	require.False(t, abandoned(status(t, own)))

	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	require.Eventually(t, func() bool { return status(t, own+"-s").Name == "" }, time.Minute, pause, "the supervisor ends")
	requireGone(t, own+"-s")
	require.Equal(t, Dead, status(t, own).State)
	require.True(t, abandoned(status(t, own)))
	left, err := Orphans()
	require.NoError(t, err)
	require.Contains(t, left, own+"-n")

	require.NoError(t, takeAway(t.Context(), []string{own}, []string{own + "-n"}))
	requireGone(t, own)
	require.False(t, netns.Exists(own+"-n"))
	left, err = Orphans()
	require.NoError(t, err)
	require.NotContains(t, left, own+"-n")
}

// A lab cannot end with a process that is not there.
func TestStartWithNobody(t *testing.T) {
	err := Start(t.Context(), reference(t), Options{With: 1 << 30})
	require.ErrorContains(t, err, "there is no process 1073741824 to end with")
}
