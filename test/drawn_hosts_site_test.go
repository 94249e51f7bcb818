package test

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"natlab/lab/netns"
	"natlab/nat/bundle"
	"natlab/nat/diagnosis"
	"natlab/topology/dump"
)

// drawnKinds are the kinds of device that this kernel makes on top of another one; each kernel has macvlan that labs run on.
func drawnKinds(t *testing.T) (kinds []string) {
	t.Helper()
	name := uniqueName(t)
	h, err := netns.CreateLeased(name)
	require.NoError(t, err)
	require.NoError(t, h.Do(func() error {
		if out, err := exec.CommandContext(t.Context(), "ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth1").CombinedOutput(); err != nil {
			return errors.New(string(out))
		}
		for _, kind := range []string{"vlan id 5", "ipvlan mode l2", "macvlan mode bridge"} {
			words := strings.Fields(kind)
			if exec.CommandContext(t.Context(), "ip", append([]string{"link", "add", "link", "eth0", "name", "on-" + words[0], "type"}, words...)...).Run() == nil { //nolint:gosec // of this test
				kinds = append(kinds, words[0])
			}
		}
		return nil
	}))
	require.NoError(t, h.Close())
	require.NoError(t, netns.Delete(name))
	require.Contains(t, kinds, "macvlan")
	return kinds
}

// agrees makes the host, and has all its flows asked in the kernel and explained.
func (d *drawnHost) agrees(t *testing.T, words map[diagnosis.Word]int) {
	t.Helper()
	spaces := map[string]netns.Handle{}
	for _, of := range drawnMembers {
		h, err := netns.CreateLeased(d.name + of)
		require.NoError(t, err)
		t.Cleanup(func() {
			require.NoError(t, h.Close())
			require.NoError(t, netns.Delete(d.name+of))
		})
		spaces[of] = h
	}
	script := d.script()
	run(t, script)
	d.serve(t, spaces)
	text, err := exec.CommandContext(t.Context(), "ip", "netns", "exec", d.name+"n", "sh", "-c", dump.Script).Output() //nolint:gosec // the test's own
	require.NoError(t, err)
	n, err := bundle.Read(strings.NewReader(string(text)))
	require.NoError(t, err)

	flows := d.flows(60)
	var asks []*drawnAsk
	for _, f := range flows {
		ends, a := explained(t, n, f)
		if f.member == "w" && slices.ContainsFunc(ends, func(e string) bool {
			at, ok := strings.CutPrefix(e, "answered by ")
			return ok && worldly(netip.MustParseAddrPort(at).Addr())
		}) {
			continue // it would get a packet from itself
		}
		beyond := slices.Contains(ends, "answered by 10.10.0.14:80") || slices.Contains(ends, "answered by 10.10.0.14:8080")
		if beyond && !strings.Contains(a.Why, "the host behind "+d.uplinks[0]) {
			continue // by another uplink: the world does not bring it there
		}
		words[a.Verdict]++
		asks = append(asks, &drawnAsk{drawnFlow: f, ends: ends, answer: a})
	}
	for _, a := range asks {
		a.ask(t, spaces[a.member])
	}
	for _, a := range asks {
		got := a.ended(t)
		ok := slices.Contains(a.ends, "") || slices.Contains(a.ends, got) || a.early != "" && (slices.Contains(a.ends, "lost") || slices.Contains(a.ends, "refused"))
		if a.answer.Verdict == diagnosis.Works {
			ok = ok && strings.HasPrefix(got, "answered by ")
		}
		if a.answer.Verdict == diagnosis.Depends || a.answer.Verdict == diagnosis.Unknown { // on what nothing of the node tells, such as who is behind a device
			ok = ok || got == "lost" || got == "refused"
		}
		if !ok {
			if dir := os.Getenv("NATLAB_OUT"); dir != "" {
				require.NoError(t, os.WriteFile(dir+"/drawn.bundle", text, 0o600))
			}
			require.Failf(t, "they do not agree", "%s in %q of %s: the kernel has %s, an explanation %q\n%s\nthe node is made by\n%s", a.tuple, a.in, a.member, got, a.ends, a.answer, script)
		}
	}
}

// serve has every address of the world, the node and the pods answer at some ports, each with the address and port that was reached.
func (d *drawnHost) serve(t *testing.T, spaces map[string]netns.Handle) {
	t.Helper()
	for _, s := range []struct{ member, addresses, ports string }{
		{"w", "10.10.0.2 10.11.0.2 10.12.0.2 203.0.113.10 203.0.113.11 203.0.113.12 198.51.100.1 198.51.100.2 198.51.100.3 198.51.100.4", "80 81"},
		{"n", "10.10.0.1 10.11.0.1 10.12.0.1 10.20.0.1", "80 81"},
		{"a", "10.20.0.11", "80 81 8080"},
		{"b", "10.20.0.12", "80 81 8080"},
		{"c", "10.21.0.13", "80 81 8080"},
		{"d", "10.10.0.14", "80 81 8080"},
	} {
		for address := range strings.FieldsSeq(s.addresses) {
			for port := range strings.FieldsSeq(s.ports) {
				at := net.JoinHostPort(address, port)
				var c net.PacketConn
				require.NoError(t, spaces[s.member].Do(func() (err error) {
					c, err = (&net.ListenConfig{}).ListenPacket(t.Context(), "udp4", at)
					return err
				}))
				done := make(chan struct{})
				go func() {
					defer close(done)
					for {
						_, from, err := c.ReadFrom(make([]byte, 8))
						if errors.Is(err, net.ErrClosed) {
							return
						}
						if err == nil {
							_, _ = c.WriteTo([]byte(at), from) // what the routes refuse is lost
						}
					}
				}()
				t.Cleanup(func() { require.NoError(t, c.Close()); <-done })
			}
		}
	}
}

// drawnAsk is a flow that is asked.
type drawnAsk struct {
	drawnFlow

	ends   []string
	answer diagnosis.Answer
	conn   *net.UDPConn
	early  string // how it ended at once: the client's own kernel refused it
}

// ask sends the datagram.
func (a *drawnAsk) ask(t *testing.T, h netns.Handle) {
	t.Helper()
	require.NoError(t, h.Do(func() error {
		d := net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(a.tuple.Src()), Control: hearsErrors}
		c, err := d.DialContext(t.Context(), "udp4", a.tuple.Dst().String())
		if err == nil {
			a.conn = c.(*net.UDPConn) //nolint:forcetypeassert // as it was dialled
			_, err = a.conn.Write([]byte("?"))
		}
		switch {
		case err == nil:
		case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EPERM): // a blackhole, a rule that drops
			a.early = "lost"
		case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.EACCES), errors.Is(err, unix.ECONNREFUSED):
			a.early = "refused"
		default:
			return err
		}
		return nil
	}))
	t.Cleanup(func() {
		if a.conn != nil {
			require.NoError(t, a.conn.Close())
		}
	})
}

// hearsErrors has a socket told of every ICMP error, not only of a port's.
func hearsErrors(_, _ string, c syscall.RawConn) (err error) {
	return errors.Join(c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_RECVERR, 1) }), err) //nolint:gosec // a descriptor
}

// ended is how it ended in the kernel. What is to come is waited for, and asked for again each second: all namespaces of the machine share one table of neighbours, and what finds
// no place there is lost; and routes tell a host of no more than one packet a second that they refuse it (ip_error). What is to be lost is given little time.
func (a *drawnAsk) ended(t *testing.T) string {
	t.Helper()
	if a.early != "" {
		return a.early
	}
	tries, wait := 20, time.Second
	if slices.Contains(a.ends, "lost") || slices.Contains(a.ends, "") || a.answer.Verdict == diagnosis.Depends {
		tries, wait = 1, 100*time.Millisecond
	}
	b := make([]byte, 64)
	for {
		require.NoError(t, a.conn.SetReadDeadline(time.Now().Add(wait)))
		n, err := a.conn.Read(b)
		switch tries--; {
		case err == nil:
			return "answered by " + netip.MustParseAddrPort(string(b[:n])).String()
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return "refused"
		case tries == 0:
			return "lost"
		}
		_, _ = a.conn.Write([]byte("?")) // an error of it is read
	}
}
