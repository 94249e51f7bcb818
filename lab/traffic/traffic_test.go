package traffic_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"natlab/lab/traffic"
	"natlab/nat"
)

// fresh is a namespace of its own that lives as long as its thread: loopback is up, nothing else is there.
type fresh struct{ work chan func() }

func newFresh(tb testing.TB) fresh {
	tb.Helper()
	ns := fresh{work: make(chan func())}
	made := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine, and the namespace with it
		made <- loopbackUp(unix.Unshare(unix.CLONE_NEWNET))
		for f := range ns.work {
			f()
		}
	}()
	require.NoError(tb, <-made, "a network namespace needs root")
	tb.Cleanup(func() { close(ns.work) })
	return ns
}

func (ns fresh) Do(f func() error) error {
	done := make(chan error)
	ns.work <- func() { done <- f() }
	return <-done
}

func loopbackUp(err error) error {
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req)
}

func addr(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func soon(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// until is short where nothing is to come, and otherwise long enough for a busy machine.
func until(t *testing.T, want traffic.Kind) context.Context {
	t.Helper()
	if want == traffic.Timeout {
		return soon(t, 200*time.Millisecond)
	}
	return soon(t, 10*time.Second)
}

func serve(t *testing.T, ns traffic.Namespace, name string, p nat.Proto, at string) {
	t.Helper()
	s, err := traffic.Serve(ns, name, p, addr(at))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
}

func TestAsk(t *testing.T) {
	ns := newFresh(t)
	for _, row := range []struct {
		why      string
		proto    nat.Proto
		src, dst string
	}{
		{"the kernel chooses the port", nat.TCP, "127.0.0.1:0", "127.0.0.2:80"},
		{"the kernel chooses the port", nat.UDP, "127.0.0.1:0", "127.0.0.2:80"},
		{"a fixed port", nat.TCP, "127.0.0.1:40000", "127.0.0.2:80"},
		{"a fixed port", nat.UDP, "127.0.0.1:40000", "127.0.0.2:80"},
		{"a fixed port on any address", nat.TCP, "0.0.0.0:40001", "127.0.0.2:81"},
		{"IPv6", nat.TCP, "[::1]:40000", "[::1]:80"},
		{"IPv6", nat.UDP, "[::1]:40000", "[::1]:80"},
		{"a port of its own", nat.SCTP, "127.0.0.1:0", "127.0.0.2:80"},
		{"a fixed port", nat.SCTP, "127.0.0.1:40000", "127.0.0.2:80"},
		{"IPv6", nat.SCTP, "[::1]:40000", "[::1]:80"},
	} {
		t.Run(fmt.Sprintf("%s %s from %s", row.why, row.proto, row.src), func(t *testing.T) {
			serve(t, ns, "default/web", row.proto, row.dst)
			asked := nat.TupleOf(row.proto, addr(row.src), addr(row.dst))
			for range 3 { // a fixed port can be used again at once
				a, err := traffic.Ask(soon(t, 5*time.Second), ns, asked)
				require.NoError(t, err)
				require.Equal(t, "default/web", a.Server)
				require.Equal(t, a.Local, a.PeerSeen)
				require.Equal(t, asked.Dst(), a.From)
				require.Equal(t, asked.Dst(), a.Endpoint)
				if p := asked.Src().Port(); p != 0 {
					require.Equal(t, p, a.Local.Port())
				}
			}
		})
	}
}

func TestAskFromNoAddressInParticular(t *testing.T) {
	ns := newFresh(t)
	serve(t, ns, "a", nat.UDP, "127.0.0.1:80")
	a, err := traffic.Ask(soon(t, 5*time.Second), ns, to(nat.UDP, "127.0.0.1:80"))
	require.NoError(t, err)
	require.Equal(t, a.Local, a.PeerSeen)
}

func TestAskAll(t *testing.T) {
	ns := newFresh(t)
	serve(t, ns, "tcp", nat.TCP, "127.0.0.1:80")
	serve(t, ns, "udp", nat.UDP, "127.0.0.1:80")
	var tuples []nat.Tuple
	for i := range 500 {
		p := nat.TCP
		if i%2 == 1 {
			p = nat.UDP
		}
		tuples = append(tuples, nat.TupleOf(p, addr("127.0.0.1:0"), addr("127.0.0.1:80")))
	}
	tuples = append(tuples, nat.TupleOf(nat.TCP, addr("127.0.0.1:0"), addr("127.0.0.1:1")))
	results := traffic.AskAll(soon(t, 10*time.Second), ns, tuples)
	require.Len(t, results, 501)
	for i, r := range results[:500] {
		require.NoError(t, r.Err)
		require.Equal(t, tuples[i].Proto().String(), r.Answer.Server)
		require.Equal(t, r.Answer.Local, r.Answer.PeerSeen)
	}
	require.Equal(t, traffic.Refused, traffic.KindOf(results[500].Err))
}

func TestConnAsksAgain(t *testing.T) {
	ns := newFresh(t)
	for _, p := range []nat.Proto{nat.TCP, nat.UDP} {
		t.Run(p.String(), func(t *testing.T) {
			ctx := soon(t, 5*time.Second)
			serve(t, ns, "a", p, "127.0.0.1:80")
			c, err := traffic.Open(ctx, ns, nat.TupleOf(p, addr("127.0.0.1:40000"), addr("127.0.0.1:80")))
			require.NoError(t, err)
			for range 3 {
				a, err := c.Ask(ctx)
				require.NoError(t, err)
				require.Equal(t, addr("127.0.0.1:40000"), a.PeerSeen)
			}
			// Two requests under way: the answer to the first is passed over for that of the second.
			_, err = c.Send(ctx)
			require.NoError(t, err)
			second, err := c.Send(ctx)
			require.NoError(t, err)
			_, err = c.Receive(ctx, second)
			require.NoError(t, err)
			require.NoError(t, c.Close())
			require.NoError(t, c.Close())
		})
	}
}

func TestFailures(t *testing.T) {
	ns := newFresh(t)
	deaf := silent(t, ns, "127.0.0.1:9")
	foreign(t, ns, "127.0.0.1:22", "SSH-2.0-none\r\n")
	foreign(t, ns, "127.0.0.1:23", "")
	require.NoError(t, ns.Do(func() error {
		return exec.CommandContext(t.Context(), "ip", "route", "add", "blackhole", "198.51.100.0/24").Run()
	}))
	for _, row := range []struct {
		why   string
		tuple nat.Tuple
		want  traffic.Failure
	}{
		{"a RST answers the SYN", to(nat.TCP, "127.0.0.1:1"), traffic.Failure{Kind: traffic.Refused}},
		{"port unreachable", to(nat.UDP, "127.0.0.1:1"), traffic.Failure{Kind: traffic.Unreachable, Sender: addr("127.0.0.1:0").Addr(), ICMPType: 3, ICMPCode: 3}},
		{"port unreachable, IPv6", to(nat.UDP, "[::1]:1"), traffic.Failure{Kind: traffic.Unreachable, Sender: addr("[::1]:0").Addr(), ICMPType: 1, ICMPCode: 4}},
		{"no answer to a datagram", to(nat.UDP, deaf), traffic.Failure{Kind: traffic.Timeout}},
		{"no route", to(nat.UDP, "192.0.2.1:1"), traffic.Failure{Kind: traffic.Unreachable}},
		{"no route", to(nat.TCP, "192.0.2.1:1"), traffic.Failure{Kind: traffic.Unreachable}},
		{"a blackhole route", to(nat.UDP, "198.51.100.1:1"), traffic.Failure{Kind: traffic.Unreachable}},
		{"a blackhole route", to(nat.TCP, "198.51.100.1:1"), traffic.Failure{Kind: traffic.Unreachable}},
		{"another kind of server", to(nat.TCP, "127.0.0.1:22"), traffic.Failure{Kind: traffic.Garbled}},
		{"a server that hangs up", to(nat.TCP, "127.0.0.1:23"), traffic.Failure{Kind: traffic.Broken}},
		{"an address of someone else", nat.TupleOf(nat.UDP, addr("192.0.2.1:5"), addr("127.0.0.1:1")), traffic.Failure{Kind: traffic.Broken}},
		{"a protocol without sockets", to(nat.UDPLite, "127.0.0.1:1"), traffic.Failure{Kind: traffic.Broken}},
	} {
		t.Run(row.why+" "+row.tuple.Proto().String(), func(t *testing.T) {
			_, err := traffic.Ask(until(t, row.want.Kind), ns, row.tuple)
			var got *traffic.Failure
			require.ErrorAs(t, err, &got)
			require.Equal(t, row.want.Kind, got.Kind, err.Error())
			require.Equal(t, row.want.Kind, traffic.KindOf(fmt.Errorf("wrapped: %w", err)))
			require.Equal(t, row.want.Sender, got.Sender)
			require.Equal(t, row.want.ICMPType, got.ICMPType)
			require.Equal(t, row.want.ICMPCode, got.ICMPCode)
			require.Equal(t, row.tuple, got.Tuple)
			require.Contains(t, err.Error(), row.want.Kind.String())
		})
	}
}

func TestRulesThatRefuse(t *testing.T) {
	ns := newFresh(t)
	for _, rule := range []string{
		"-A OUTPUT -p tcp --dport 1 -j REJECT", "-A OUTPUT -p udp --dport 1 -j REJECT",
		"-A INPUT -p tcp --dport 2 -j REJECT", "-A INPUT -p udp --dport 2 -j REJECT",
		"-A INPUT -p tcp --dport 3 -j REJECT --reject-with tcp-reset",
		"-A OUTPUT -p udp --dport 4 -j DROP", "-A OUTPUT -p tcp --dport 4 -j DROP",
		"-A INPUT -p udp --dport 5 -j DROP", "-A INPUT -p tcp --dport 5 -j DROP",
	} {
		require.NoError(t, ns.Do(func() error {
			out, err := exec.CommandContext(t.Context(), "iptables-legacy", strings.Fields("-w "+rule)...).CombinedOutput()
			t.Logf("%s%s", rule, out)
			return err
		}))
	}
	for _, row := range []struct {
		why   string
		tuple nat.Tuple
		kind  traffic.Kind
	}{
		{"rejected by its own node", to(nat.TCP, "127.0.0.1:1"), traffic.Unreachable},
		{"rejected by its own node", to(nat.UDP, "127.0.0.1:1"), traffic.Unreachable},
		{"rejected on arrival", to(nat.TCP, "127.0.0.1:2"), traffic.Unreachable},
		{"rejected on arrival", to(nat.UDP, "127.0.0.1:2"), traffic.Unreachable},
		{"rejected with a RST", to(nat.TCP, "127.0.0.1:3"), traffic.Refused},
		{"dropped by its own node", to(nat.TCP, "127.0.0.1:4"), traffic.Timeout},
		{"dropped by its own node", to(nat.UDP, "127.0.0.1:4"), traffic.Timeout},
		{"dropped on arrival", to(nat.TCP, "127.0.0.1:5"), traffic.Timeout},
		{"dropped on arrival", to(nat.UDP, "127.0.0.1:5"), traffic.Timeout},
	} {
		t.Run(row.why+" "+row.tuple.String(), func(t *testing.T) {
			_, err := traffic.Ask(until(t, row.kind), ns, row.tuple)
			var got *traffic.Failure
			require.ErrorAs(t, err, &got)
			require.Equal(t, row.kind, got.Kind, err.Error())
			if row.kind == traffic.Unreachable {
				require.Equal(t, [2]uint8{3, 3}, [2]uint8{got.ICMPType, got.ICMPCode})
				require.Equal(t, row.tuple.Dst().Addr(), got.Sender)
			}
		})
	}
}

func to(p nat.Proto, dst string) nat.Tuple { return nat.TupleOf(p, netip.AddrPort{}, addr(dst)) }

// silent is a UDP socket that never answers.
func silent(t *testing.T, ns traffic.Namespace, at string) string {
	t.Helper()
	require.NoError(t, ns.Do(func() error {
		c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr(at)))
		t.Cleanup(func() { _ = c.Close() })
		return err
	}))
	return at
}

// foreign is a TCP server that greets and hangs up once it was asked.
func foreign(t *testing.T, ns traffic.Namespace, at, greeting string) {
	t.Helper()
	var l net.Listener
	require.NoError(t, ns.Do(func() (err error) {
		l, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(addr(at)))
		return err
	}))
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = io.WriteString(c, greeting)
		_, _ = c.Read(make([]byte, 100))
		_ = c.Close()
	}()
}

func TestServersThatCannotBe(t *testing.T) {
	ns := newFresh(t)
	for _, row := range []struct {
		proto nat.Proto
		at    string
		want  string
	}{
		{nat.TCP, "0.0.0.0:80", "not one address"},
		{nat.UDP, "192.0.2.1:80", "cannot assign"},
		{nat.TCP, "192.0.2.1:80", "cannot assign"},
		{nat.UDPLite, "127.0.0.1:80", "protocol udplite"},
	} {
		t.Run(row.at, func(t *testing.T) {
			_, err := traffic.Serve(ns, "a", row.proto, addr(row.at))
			require.ErrorContains(t, err, row.want)
			require.ErrorContains(t, err, `as "a"`)
		})
	}
}

func TestServerEndsItsConnections(t *testing.T) {
	ns := newFresh(t)
	ctx := soon(t, 5*time.Second)
	s, err := traffic.Serve(ns, "a", nat.TCP, addr("127.0.0.1:80"))
	require.NoError(t, err)
	c, err := traffic.Open(ctx, ns, to(nat.TCP, "127.0.0.1:80"))
	require.NoError(t, err)
	_, err = c.Ask(ctx)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	require.NoError(t, s.Close())
	_, err = c.Ask(ctx)
	require.Error(t, err)
	require.NotEqual(t, traffic.Timeout, traffic.KindOf(err))
	require.NoError(t, c.Close())
	_, err = traffic.Ask(ctx, ns, to(nat.TCP, "127.0.0.1:80"))
	require.Equal(t, traffic.Refused, traffic.KindOf(err))
}

func TestServerSpeaksHTTP(t *testing.T) {
	ns := newFresh(t)
	serve(t, ns, "default/web", nat.TCP, "127.0.0.1:80")
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, at string) (c net.Conn, err error) {
			err = ns.Do(func() error {
				c, err = (&net.Dialer{}).DialContext(ctx, network, at)
				return err
			})
			return c, err
		},
	}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1/", nil)
	require.NoError(t, err)
	resp, err := client.Do(req)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Contains(t, string(body), `"server":"default/web"`)
}

func BenchmarkAsk(b *testing.B) {
	for _, p := range []nat.Proto{nat.TCP, nat.UDP} {
		b.Run(p.String(), func(b *testing.B) {
			ns := newFresh(b)
			s, err := traffic.Serve(ns, "a", p, addr("127.0.0.1:80"))
			require.NoError(b, err)
			defer func() { _ = s.Close() }()
			for b.Loop() {
				_, err := traffic.Ask(b.Context(), ns, to(p, "127.0.0.1:80"))
				require.NoError(b, err)
			}
		})
	}
}
