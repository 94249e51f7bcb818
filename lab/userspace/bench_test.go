package userspace_test

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"natlab/lab/netns"
	"natlab/nat"
	"natlab/nat/conntrack"
	"natlab/nat/packet"
)

// The planes of a benchmark besides those of scenes: plain forwarding, and a loop in C that accepts every packet, at the hooks at which the gateway gets them.
const (
	planeNone = "forwarding"
	planeLoop = "C"
)

// contender is a scene with a plane, and what its client asks.
type contender struct {
	scene
	plane    string
	stream   string // TCP
	datagram netip.AddrPort
	rates    []float64
}

func newContender(b *testing.B, plane string) *contender {
	b.Helper()
	c := &contender{scene: newScene(b), plane: plane, stream: "10.96.0.1:80", datagram: netip.MustParseAddrPort("10.96.0.1:53")}
	switch plane {
	case planeNone, planeLoop:
		c.stream, c.datagram = "10.0.2.2:8080", netip.MustParseAddrPort("10.0.2.2:5353")
		if plane == planeLoop {
			acceptAll(b, c.gateway)
		}
	default:
		sysctl(b, c.gateway, "nf_conntrack_tcp_be_liberal", "1") // or nothing of TCP is offloaded
		c.translate(b, plane, "")
	}
	return c
}

// contenders are one for each plane. The loop in C is among them where libnetfilter-queue-dev is.
func contenders(b *testing.B) (all []*contender) {
	b.Helper()
	for _, plane := range []string{planeNone, planeKernel, planeLoop, planeBytes, planeWire, planePassed} {
		if _, err := exec.LookPath("cc"); plane == planeLoop && (err != nil || !hasLibrary(b)) {
			continue
		}
		all = append(all, newContender(b, plane))
	}
	return all
}

func hasLibrary(b *testing.B) bool {
	b.Helper()
	cmd := exec.CommandContext(b.Context(), "cc", "-fsyntax-only", "-include", "libnetfilter_queue/libnetfilter_queue.h", "-x", "c", "/dev/null")
	return cmd.Run() == nil
}

// acceptAll runs the loop in C on what a namespace forwards.
func acceptAll(b *testing.B, h netns.Handle) {
	b.Helper()
	binary := filepath.Join(b.TempDir(), "accept")
	out, err := exec.CommandContext(b.Context(), "cc", "-O2", "-o", binary, "../../test/testdata/nfqueue/accept.c", "-lnetfilter_queue").CombinedOutput()
	require.NoError(b, err, string(out))
	cmd := exec.Command(binary, "7") //nolint:noctx // it is ended below
	from, err := cmd.StdoutPipe()
	require.NoError(b, err)
	require.NoError(b, h.Do(cmd.Start))
	b.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	line, err := bufio.NewReader(from).ReadString('\n')
	require.NoError(b, err)
	require.Equal(b, "ready\n", line)
	require.NoError(b, h.Do(func() error {
		for _, hook := range []string{"PREROUTING", "FORWARD", "POSTROUTING"} {
			if out, err := exec.CommandContext(b.Context(), "iptables-legacy", "-w", "-t", "mangle", "-A", hook, "-j", "NFQUEUE", "--queue-num", "7").CombinedOutput(); err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
		}
		return nil
	}))
}

// unit is what is measured, and which of several measurements is the best: what else the machine does takes from each, and gives to none.
type unit struct {
	name string
	best func([]float64) float64
}

var (
	gigabits  = unit{"Gbit/s", slices.Max[[]float64]}
	thousands = unit{"1000/s", slices.Max[[]float64]}
	micros    = unit{"us", slices.Min[[]float64]}
)

// race has each contender run in turn, round by round, so that what else the machine does is shared by all, and reports each one's best, and what those
// of natlab's are of the others'.
func race(b *testing.B, all []*contender, in unit, run func(c *contender) float64) {
	b.Helper()
	const rounds = 25 // at least
	for b.Loop() {
		for range rounds {
			for _, c := range all {
				c.rates = append(c.rates, run(c))
			}
		}
	}
	b.ReportMetric(0, "ns/op")
	rate := map[string]float64{}
	for _, c := range all {
		rate[c.plane] = in.best(c.rates)
		b.ReportMetric(rate[c.plane], c.plane+"-"+in.name)
		c.rates = nil
	}
	for _, of := range [][2]string{{planeBytes, planeLoop}, {planeWire, planeLoop}, {planeWire, planeKernel}, {planePassed, planeKernel}} {
		if rate[of[0]] > 0 && rate[of[1]] > 0 {
			b.ReportMetric(rate[of[0]]/rate[of[1]], of[0]+"/"+of[1])
		}
	}
}

// BenchmarkStream is one TCP stream from the client, by each plane.
func BenchmarkStream(b *testing.B) {
	all := contenders(b)
	conns := map[*contender]net.Conn{}
	for _, c := range all {
		conns[c] = sink(b, c)
	}
	chunk := make([]byte, 1<<20)
	race(b, all, gigabits, func(c *contender) float64 {
		const chunks = 48
		start := time.Now()
		for range chunks {
			_, err := conns[c].Write(chunk)
			require.NoError(b, err)
		}
		return float64(chunks*len(chunk)) * 8 / 1e9 / time.Since(start).Seconds()
	})
}

// sink is a connection to a server that reads.
func sink(b *testing.B, c *contender) (conn net.Conn) {
	b.Helper()
	var l net.Listener
	require.NoError(b, c.server.Do(func() (err error) {
		l, err = (&net.ListenConfig{}).Listen(b.Context(), "tcp", "10.0.2.2:8080")
		return err
	}))
	var busy sync.WaitGroup
	busy.Go(func() {
		if in, err := l.Accept(); err == nil {
			_, _ = io.Copy(io.Discard, in)
			_ = in.Close()
		}
	})
	require.NoError(b, c.client.Do(func() (err error) {
		conn, err = (&net.Dialer{}).DialContext(b.Context(), "tcp", c.stream)
		return err
	}))
	b.Cleanup(func() { require.NoError(b, errors.Join(conn.Close(), l.Close())); busy.Wait() })
	return conn
}

// salvo sends datagrams with a few bytes, and returns how many a second came through. Those that belong to no flow yet have a source each.
type salvo struct {
	out  int // a raw socket of the client's
	in   *net.UDPConn
	to   netip.AddrPort
	next uint32
}

func newSalvo(b *testing.B, c *contender) *salvo {
	b.Helper()
	s := &salvo{to: c.datagram}
	require.NoError(b, c.client.Do(func() (err error) {
		s.out, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		return err
	}))
	require.NoError(b, c.server.Do(func() error {
		in, err := (&net.ListenConfig{}).ListenPacket(b.Context(), "udp4", "10.0.2.2:5353")
		if err != nil {
			return err
		}
		s.in = in.(*net.UDPConn) //nolint:forcetypeassert // it is one
		return nil
	}))
	raw, err := s.in.SyscallConn()
	require.NoError(b, err)
	require.NoError(b, raw.Control(func(fd uintptr) {
		require.NoError(b, unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20))
	}))
	b.Cleanup(func() { require.NoError(b, errors.Join(s.in.Close(), unix.Close(s.out))) })
	return s
}

// fire sends n datagrams, fresh: each from a source of its own. What does not come within a second is lost.
func (s *salvo) fire(b *testing.B, n int, fresh bool) float64 {
	b.Helper()
	var busy sync.WaitGroup
	got, last := 0, time.Time{}
	busy.Go(func() {
		buf := make([]byte, 64)
		for got < n {
			_ = s.in.SetReadDeadline(time.Now().Add(time.Second))
			if _, err := s.in.Read(buf); err != nil {
				return
			}
			got, last = got+1, time.Now()
		}
	})
	start := time.Now()
	for range n {
		if fresh {
			s.next++
		}
		require.NoError(b, unix.Sendto(s.out, s.datagram(), 0, &unix.SockaddrInet4{Addr: s.to.Addr().As4()}))
	}
	busy.Wait()
	require.Greater(b, got, n/2)
	return float64(got) / last.Sub(start).Seconds()
}

// datagram is from 10.0.1.2 and the addresses behind it.
func (s *salvo) datagram() []byte {
	const ports = 60_000
	addr := binary.BigEndian.AppendUint32(nil, 10<<24|1<<8|2+s.next/ports)
	from := netip.AddrPortFrom(netip.AddrFrom4([4]byte(addr)), uint16(1024+s.next%ports))
	return packet.Build(nat.TupleOf(nat.UDP, from, s.to), packet.Fields{Payload: []byte("x")}).Bytes()
}

// BenchmarkDatagrams are small ones of one flow.
func BenchmarkDatagrams(b *testing.B) {
	all := slices.DeleteFunc(contenders(b), func(c *contender) bool { return c.plane == planePassed }) // what nobody answers is not established
	salvos := map[*contender]*salvo{}
	for _, c := range all {
		salvos[c] = newSalvo(b, c)
	}
	race(b, all, thousands, func(c *contender) float64 { return salvos[c].fire(b, 10_000, false) / 1000 })
}

// BenchmarkNewFlows are datagrams of a flow each, with few Services and with many.
func BenchmarkNewFlows(b *testing.B) {
	for _, services := range []int{10, 10_000} {
		b.Run(fmt.Sprintf("services=%d", services), func(b *testing.B) {
			withServices(b, services)
			all := []*contender{newContender(b, planeKernel), newContender(b, planeBytes), newContender(b, planeWire)}
			salvos := map[*contender]*salvo{}
			for _, c := range all {
				salvos[c] = newSalvo(b, c)
			}
			race(b, all, thousands, func(c *contender) float64 { return salvos[c].fire(b, 5_000, true) / 1000 })
		})
	}
}

// withServices has scenes of the benchmark translate for so many Services more, which are in front of those that are asked.
func withServices(b *testing.B, n int) {
	b.Helper()
	const mark = "-A SERVICES -s 10.0.2.2/32"
	var more strings.Builder
	for i := range n {
		fmt.Fprintf(&more, "-A SERVICES -d 10.97.%d.%d/32 -p udp -m udp --dport 53 -j DNAT --to-destination 10.0.2.2:5353\n", i>>8, i&255)
	}
	before := benchRules
	benchRules = strings.Replace(rules4, mark, more.String()+mark, 1)
	b.Cleanup(func() { benchRules = before })
}

// BenchmarkRoundTrip is how long a datagram and its answer take when nothing else is on its way.
func BenchmarkRoundTrip(b *testing.B) {
	all := contenders(b)
	conns := map[*contender]net.Conn{}
	for _, c := range all {
		serve(b, c.server, "udp", "10.0.2.2:5353")
		require.NoError(b, c.client.Do(func() (err error) {
			conns[c], err = (&net.Dialer{}).DialContext(b.Context(), "udp", c.datagram.String())
			return err
		}))
		b.Cleanup(func() { require.NoError(b, conns[c].Close()) })
	}
	buf := make([]byte, 64)
	exchange := func(c *contender) time.Duration {
		start := time.Now()
		_, err := conns[c].Write([]byte("x"))
		require.NoError(b, err)
		_, err = conns[c].Read(buf)
		require.NoError(b, err)
		return time.Since(start)
	}
	const stream = 2 * time.Second // so old a flow of UDP is established
	for begin := time.Now(); time.Since(begin) < stream+stream/2; {
		for _, c := range all {
			exchange(c)
		}
	}
	race(b, all, micros, func(c *contender) float64 {
		var took []time.Duration
		for range 100 {
			took = append(took, exchange(c))
		}
		slices.Sort(took)
		return float64(took[len(took)/2]) / 1e3
	})
}

// BenchmarkFlowMemory is what the gateway's heap grows by for 100,000 flows.
func BenchmarkFlowMemory(b *testing.B) {
	c := newContender(b, planeNone)
	g := c.translate(b, planeWire, "")
	c.datagram = netip.MustParseAddrPort("10.96.0.1:53")
	s := newSalvo(b, c)
	heap := func() float64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc)
	}
	before := heap()
	for b.Loop() {
		for range 20 {
			s.fire(b, 5_000, true)
		}
	}
	grown, flows := heap()-before, 0
	g.Conns(nat.IPv4, func(*conntrack.Conn, time.Time) { flows++ })
	b.ReportMetric(grown/float64(flows)*100_000/(1<<20), "MiB/100000-flows")
}
