package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"natlab/lab/dataplane"
	"natlab/lab/netns"
)

func TestStartAndDown(t *testing.T) {
	before := hostNetwork(t)
	c := reference(t)
	require.NoError(t, Start(t.Context(), c, Options{With: os.Getpid()}))
	l, err := Open(t.Context(), c.Name)
	require.NoError(t, err)
	require.Equal(t, c.Name, l.Name())
	require.Equal(t, before, hostNetwork(t), "the host's own network")

	require.ErrorIs(t, Start(t.Context(), c, Options{With: os.Getpid()}), ErrExists)
	_, err = Up(t.Context(), c, Options{})
	require.ErrorContains(t, err, "lab "+c.Name+" is already up: natlab down --name "+c.Name+" first")
	st := status(t, c.Name)
	require.Equal(t, Running, st.State)
	require.Len(t, st.Namespaces, 14)
	require.Len(t, st.Nodes, 6)
	for file, mode := range map[string]os.FileMode{"": 0o700 | os.ModeDir, recordFile: 0o600, clusterFile: 0o600, logFile: 0o600, controlFile: 0o600 | os.ModeSocket} {
		t.Run(file, func(t *testing.T) {
			info, err := os.Stat(root + "/" + c.Name + "/" + file)
			require.NoError(t, err)
			require.Equal(t, mode, info.Mode(), file)
		})
	}
	require.NoError(t, l.Down(t.Context()))
	require.NoError(t, l.Down(t.Context()), "a second Down")
	requireGone(t, c.Name)
	require.Equal(t, before, hostNetwork(t), "the host's own network")
	_, err = Open(t.Context(), c.Name)
	require.ErrorIs(t, err, ErrNoLab)
}

func status(t *testing.T, name string) Status {
	t.Helper()
	all, err := List()
	require.NoError(t, err)
	for _, st := range all {
		if st.Name == name {
			return st
		}
	}
	return Status{}
}

func TestTwoLabsSideBySide(t *testing.T) {
	a, b := reference(t), reference(t)
	one, two := raise(t, a), raise(t, b)
	require.NoError(t, one.Down(t.Context()))
	requireGone(t, a.Name)
	require.Len(t, two.Members(), 14)
	look(t, two, "vms100")
}

// TestKilledSupervisor ends the process that serves a lab, and with it the gateways of its nodes where NAT is natlab's own: the lab is dead,
// and Down takes the rest away.
func TestKilledSupervisor(t *testing.T) {
	for _, backend := range []dataplane.Backend{dataplane.Legacy, dataplane.Userspace} {
		t.Run(string(backend), func(t *testing.T) {
			c := reference(t)
			require.NoError(t, Start(t.Context(), c, Options{Backend: backend, With: os.Getpid()}))
			kill(t, status(t, c.Name).PID)
			require.Equal(t, Dead, status(t, c.Name).State)
			_, err := Open(t.Context(), c.Name)
			require.ErrorIs(t, err, ErrDead)
			require.ErrorIs(t, Start(t.Context(), c, Options{With: os.Getpid()}), ErrExists)
			require.NoError(t, Down(t.Context(), c.Name))
			requireGone(t, c.Name)
		})
	}
}

// TestStoppedSupervisor stops the process that serves a lab by a signal: the lab is stopped, nobody is kept waiting for it, it goes on by the next
// signal, and Down takes it away while it stands still, too.
func TestStoppedSupervisor(t *testing.T) {
	for _, open := range []bool{false, true} {
		t.Run(fmt.Sprintf("open=%t", open), func(t *testing.T) {
			c := reference(t)
			require.NoError(t, Start(t.Context(), c, Options{Backend: dataplane.Userspace, Gateways: GatewayOptions{FailOpen: open}, With: os.Getpid()}))
			is := status(t, c.Name)
			require.Equal(t, Running, is.State)
			require.Equal(t, map[bool]string{false: "closed", true: "open"}[open], is.Fails)
			require.NoError(t, unix.Kill(is.PID, unix.SIGSTOP))
			become(t, c.Name, Stopped)
			_, err := Open(t.Context(), c.Name)
			require.ErrorIs(t, err, ErrStopped)
			require.ErrorContains(t, err, fmt.Sprintf("kill -CONT %d", is.PID))
			require.NoError(t, unix.Kill(is.PID, unix.SIGCONT))
			become(t, c.Name, Running)
			l, err := Open(t.Context(), c.Name)
			require.NoError(t, err)
			states, err := l.GatewayStates(t.Context())
			require.NoError(t, err)
			require.Len(t, states, len(c.Nodes))
			h, err := l.Handle("vms100")
			require.NoError(t, err)
			var listed bytes.Buffer
			list := exec.CommandContext(t.Context(), "nft", "list", "table", "ip", "natlab-gateway")
			list.Stdout = &listed
			require.NoError(t, h.Start(list))
			require.NoError(t, list.Wait())
			require.Contains(t, listed.String(), "28257")
			require.Equal(t, open, strings.Contains(listed.String(), "bypass"), "where nobody listens, packets pass")
			require.NoError(t, l.Close())
			require.NoError(t, unix.Kill(is.PID, unix.SIGSTOP))
			become(t, c.Name, Stopped)
			require.NoError(t, Down(t.Context(), c.Name))
			requireGone(t, c.Name)
		})
	}
}

// become waits until a lab is in a state: a signal works on one thread after the other.
func become(t *testing.T, name string, want State) {
	t.Helper()
	require.Eventually(t, func() bool { return status(t, name).State == want }, patience, time.Millisecond)
}

// kill ends a process for good, and waits until the kernel has taken its locks away.
func kill(t *testing.T, pid int) {
	t.Helper()
	p, err := processOf(pid)
	require.NoError(t, err)
	require.NoError(t, p.end(t.Context(), unix.SIGKILL, patience))
}

// TestKilledAtAnyMoment kills up, its supervisor or both at random moments: a share of the time that a whole up takes on this
// machine, drawn from a seed that is printed. NATLAB_KILLS is how often, NATLAB_SEED the seed to draw the same moments again.
func TestKilledAtAnyMoment(t *testing.T) {
	rounds := 8
	if s := os.Getenv("NATLAB_KILLS"); s != "" {
		var err error
		rounds, err = strconv.Atoi(s)
		require.NoError(t, err)
	}
	seed := rand.Uint64()
	if s := os.Getenv("NATLAB_SEED"); s != "" {
		var err error
		seed, err = strconv.ParseUint(s, 10, 64)
		require.NoError(t, err)
	}
	t.Logf("NATLAB_SEED=%d draws the same moments again", seed)
	chance := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // the same again for the same seed
	before := hostNetwork(t)
	begin := time.Now()
	c := reference(t)
	startProcess(t, c.Name, func(cmd *exec.Cmd) { require.NoError(t, cmd.Wait()) })
	require.NoError(t, Down(t.Context(), c.Name))
	whole := time.Since(begin)
	for round := range rounds {
		share, whom := chance.Float64(), round%3
		moment := time.Duration(share * float64(whole))
		t.Run(fmt.Sprintf("%d after %.4f of %s kill %d", round, share, whole.Round(time.Millisecond), whom), func(t *testing.T) {
			startProcess(t, c.Name, func(cmd *exec.Cmd) {
				time.Sleep(moment)
				if whom != 0 {
					if pid := status(t, c.Name).PID; pid != 0 {
						_ = unix.Kill(pid, unix.SIGKILL) // it may be gone
					}
				}
				if whom != 1 {
					_ = cmd.Process.Kill()
					_ = cmd.Wait() // until then it may be at work in a system call
				}
				if err := Down(t.Context(), c.Name); errors.Is(err, ErrNoLab) { // a supervisor that is alone took it away first
					require.Eventually(t, func() bool { return whom == 1 || processesOf(t, c.Name) == nil }, patience, time.Millisecond)
				} else {
					require.NoError(t, err)
				}
				_ = cmd.Wait() // it ended one way or another
			})
			if err := Down(t.Context(), c.Name); !errors.Is(err, ErrNoLab) {
				require.NoError(t, err)
				require.Equal(t, 1, whom, "an up that lives may begin after a Down")
			}
			requireGone(t, c.Name)
		})
	}
	require.Equal(t, before, hostNetwork(t), "the host's own network")
}

func startProcess(t *testing.T, name string, f func(*exec.Cmd)) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "up", "--name", name)
	require.NoError(t, cmd.Start())
	f(cmd)
}

// TestInterruptedStart ends the context at a random moment, as Ctrl-C does: when Start returns, all is gone.
func TestInterruptedStart(t *testing.T) {
	c := reference(t)
	for _, step := range []string{"namespaces", "devices", "addresses and routes", "servers"} {
		ctx, cancel := context.WithCancel(t.Context())
		err := Start(ctx, c, Options{With: os.Getpid(), Progress: func(s string, _, _ int) {
			if s == step {
				cancel()
			}
		}})
		if err == nil { // too late
			require.NoError(t, Down(t.Context(), c.Name))
		} else {
			require.ErrorIs(t, err, context.Canceled, step)
		}
		requireGone(t, c.Name)
		cancel()
	}
}

// TestDownEndsWhatRunsInside starts a process in a node: Down ends it, and none outside.
func TestDownEndsWhatRunsInside(t *testing.T) {
	l := raise(t, reference(t))
	h, err := l.Handle("vms100")
	require.NoError(t, err)
	inside, outside := exec.CommandContext(t.Context(), "/bin/sleep", "600"), exec.CommandContext(t.Context(), "/bin/sleep", "600")
	require.NoError(t, h.Start(inside))
	require.NoError(t, outside.Start())
	require.NoError(t, l.Down(t.Context()))
	require.EqualError(t, inside.Wait(), "signal: killed")
	require.NoError(t, outside.Process.Signal(unix.Signal(0)))
	require.NoError(t, outside.Process.Kill())
	_ = outside.Wait()
	requireGone(t, l.Name())
}

// TestForeignNamespace finds a namespace of the lab's name that is not the lab's: Up refuses and leaves it alone.
func TestForeignNamespace(t *testing.T) {
	c := reference(t)
	foreign := c.Name + ".vms105"
	h, err := netns.Create(foreign)
	require.NoError(t, err)
	require.NoError(t, h.Close())
	t.Cleanup(func() { require.NoError(t, netns.Delete(foreign)) })
	_, err = Up(t.Context(), c, Options{})
	require.ErrorContains(t, err, "a network namespace "+foreign+" is there already")
	require.True(t, netns.Exists(foreign))
	require.ErrorIs(t, Down(t.Context(), c.Name), ErrNoLab)
	require.True(t, netns.Exists(foreign))
}

// TestErrorsSayWhere breaks the plan in one place: the error names the namespace and the step, and nothing is left.
func TestErrorsSayWhere(t *testing.T) {
	for _, row := range []struct {
		want  string
		wreck func(*Lab)
	}{
		{"node vms105: device tunl0tunl0tunl0x: ", func(l *Lab) { device(l, "vms105", "tunl0").Name = "tunl0tunl0tunl0x" }},
		{"pod velero/minio-b6d98746c-m7rzc: device eth0: address 10.244.169.89/32: ", func(l *Lab) {
			ns := namespace(l, "velero/minio-b6d98746c-m7rzc")
			ns.Addresses = append(ns.Addresses, ns.Addresses[0])
		}},
		{"router: sysctl net/ipv4/no_such_thing: ", func(l *Lab) { namespace(l, "router").Sysctls[0].Key = "net/ipv4/no_such_thing" }},
		{"node vms101: route 0.0.0.0/0: ", func(l *Lab) {
			ns := namespace(l, "vms101")
			ns.Routes = append(ns.Routes, ns.Routes[0])
		}},
	} {
		t.Run(row.want, func(t *testing.T) {
			c := reference(t)
			l, err := prepare(c, Options{})
			require.NoError(t, err)
			s, err := createState(c.Name)
			require.NoError(t, err)
			l.own = &owned{state: s}
			row.wreck(l)
			_, err = bringUp(t.Context(), l, nil)
			require.ErrorContains(t, err, "lab "+c.Name+": "+row.want)
			requireGone(t, c.Name)
		})
	}
}

func TestNames(t *testing.T) {
	for _, name := range []string{"", "..", "a/b", "-x", "A", "a.b", string(bytes.Repeat([]byte("n"), 33))} {
		require.ErrorContains(t, Down(t.Context(), name), "not a name", "%q", name)
		_, err := Open(t.Context(), name)
		require.ErrorContains(t, err, "not a name", "%q", name)
	}
}

// TestOneOfManyWins has several processes' worth of Starts and Downs of one name at the same time.
func TestOneOfManyWins(t *testing.T) {
	c := reference(t)
	const many = 4
	results := make(chan error, many)
	for range many {
		go func() { results <- Start(t.Context(), c, Options{With: os.Getpid()}) }()
	}
	won := 0
	for range many {
		err := <-results
		if err == nil {
			won++
		} else if !errors.Is(err, ErrExists) {
			t.Error(err)
		}
	}
	require.Equal(t, 1, won)
	l, err := Open(t.Context(), c.Name)
	require.NoError(t, err)
	require.NoError(t, l.Close())
	for range many {
		go func() { results <- Down(t.Context(), c.Name) }()
	}
	for range many {
		if err := <-results; err != nil && !errors.Is(err, ErrNoLab) {
			t.Error(err)
		}
	}
	requireGone(t, c.Name)
}

// TestDownOfALabInAnotherProgram takes down a lab that this very process serves, by its name, as the command line does.
func TestDownOfALabInAnotherProgram(t *testing.T) {
	l := raise(t, reference(t))
	require.False(t, status(t, l.Name()).Supervised)
	require.NoError(t, Down(t.Context(), l.Name()))
	requireGone(t, l.Name())
	require.NoError(t, l.Down(t.Context()), "the owner's own Down finds it done")
}
