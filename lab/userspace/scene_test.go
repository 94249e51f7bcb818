package userspace_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/lab/dataplane"
	"natlab/lab/netns"
	"natlab/lab/userspace"
	"natlab/nat"
	"natlab/nat/gateway"
	"natlab/nat/iptables"
	"natlab/nat/nftables"
)

// A scene is a client, a gateway and a server, each in a namespace of its own:
//
//	client 10.0.1.2, fd00:1::2 --- 10.0.1.1, fd00:1::1 gateway 10.0.2.1, fd00:2::1 --- 10.0.2.2, fd00:2::2 server
type scene struct{ client, gateway, server netns.Handle }

var scenes atomic.Int32

func newScene(tb testing.TB) scene {
	tb.Helper()
	require.Zero(tb, os.Geteuid(), "network namespaces need root")
	id := fmt.Sprintf("natlab-wire-%d-%d", os.Getpid(), scenes.Add(1))
	space := func(name string) netns.Handle {
		h, err := netns.CreateLeased(id + name)
		require.NoError(tb, err)
		tb.Cleanup(func() {
			require.NoError(tb, h.Close())
			require.NoError(tb, netns.Delete(id+name))
		})
		return h
	}
	s := scene{space("c"), space("g"), space("s")}
	ip(tb, s.client, "link add eth0 type veth peer name left netns "+id+"g\nlink set lo up\nlink set eth0 up\naddr add 10.0.1.2/24 dev eth0\naddr add fd00:1::2/64 dev eth0 nodad")
	ip(tb, s.server, "link add eth0 type veth peer name right netns "+id+"g\nlink set lo up\nlink set eth0 up\naddr add 10.0.2.2/24 dev eth0\naddr add fd00:2::2/64 dev eth0 nodad")
	ip(tb, s.gateway, "link set lo up\nlink set left up\nlink set right up\naddr add 10.0.1.1/24 dev left\naddr add fd00:1::1/64 dev left nodad\n"+
		"addr add 10.0.2.1/24 dev right\naddr add fd00:2::1/64 dev right nodad\nroute add 10.96.0.0/16 dev left via 10.0.1.2\nroute add fd00:96::/64 via fd00:1::2")
	ip(tb, s.client, "route add default via 10.0.1.1\nroute add default via fd00:1::1")
	ip(tb, s.server, "route add default via 10.0.2.1\nroute add default via fd00:2::1")
	require.NoError(tb, s.gateway.Do(func() error {
		return errors.Join(os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0), os.WriteFile("/proc/sys/net/ipv6/conf/all/forwarding", []byte("1"), 0))
	}))
	return s
}

// ip runs the lines of an ip(8) batch in a namespace.
func ip(tb testing.TB, h netns.Handle, batch string) {
	tb.Helper()
	require.NoError(tb, h.Do(func() error {
		cmd := exec.CommandContext(tb.Context(), "ip", "-batch", "-")
		cmd.Stdin = strings.NewReader(batch)
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}))
}

// The planes that do the gateway's NAT.
const (
	planeKernel = "kernel"
	planeWire   = "userspace" // by mark
	planeBytes  = "payload"
	planePassed = "offload" // by mark, until flows are established
	planeShared = "queues"  // by mark, by three queues

	planeKernelNFT = "kernel, nftables" // by rulesNFT, as are the next
	planeNFT       = "nftables"         // by mark
	planeBytesNFT  = "nftables, payload"
)

var applies = map[string]userspace.Apply{
	planeWire: userspace.ByMark, planeBytes: userspace.ByPayload, planePassed: userspace.ByMark, planeShared: userspace.ByMark, planeNFT: userspace.ByMark, planeBytesNFT: userspace.ByPayload,
}

// benchRules are what a plane obeys in IPv4. A benchmark has others.
var benchRules = rules4

// translate has a plane obey benchRules in the gateway, and text6, which may be "".
func (s scene) translate(tb testing.TB, plane, text6 string) *userspace.Gateway {
	tb.Helper()
	sets := map[nat.Family]gateway.Rules{}
	for family, text := range map[nat.Family]string{nat.IPv4: benchRules, nat.IPv6: text6} {
		if text == "" {
			continue
		}
		sets[family] = gateway.Rules{parse(tb, text, family)}
	}
	switch plane {
	case planeKernelNFT:
		loadNFT(tb, s.gateway, rulesNFT)
		return nil
	case planeKernel:
		d, err := dataplane.New(dataplane.Legacy)
		require.NoError(tb, err)
		for _, rules := range sets {
			require.NoError(tb, d.Install(tb.Context(), s.gateway, rules[0]))
		}
		return nil
	}
	facts := gateway.Facts{}
	if plane == planeNFT || plane == planeBytesNFT {
		sets, facts = nativeSets(tb)
	}
	var err error
	facts.Kernel, err = dataplane.Kernel()
	require.NoError(tb, err)
	o := userspace.Options{Rules: sets, Facts: facts, Apply: applies[plane], Offload: plane == planePassed}
	if plane == planeShared {
		o.Queues = 3
	}
	g, err := userspace.Open(s.gateway, o)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, g.Close()) })
	return g
}

// nativeSets are rulesNFT as a gateway takes them, of both families.
func nativeSets(tb testing.TB) (map[nat.Family]gateway.Rules, gateway.Facts) {
	tb.Helper()
	rs, err := nftables.ParseText(rulesNFT)
	require.NoError(tb, err)
	return map[nat.Family]gateway.Rules{nat.IPv4: {{Family: nat.IPv4}}, nat.IPv6: {{Family: nat.IPv6}}}, gateway.Facts{NFT: rs}
}

// loadNFT has a namespace's kernel obey rules by the nft program.
func loadNFT(tb testing.TB, h netns.Handle, text string) {
	tb.Helper()
	require.NoError(tb, h.Do(func() error {
		cmd := exec.CommandContext(tb.Context(), "nft", "-f", "-")
		cmd.Stdin = strings.NewReader(text)
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}))
}

func parse(tb testing.TB, text string, family nat.Family) iptables.Ruleset {
	tb.Helper()
	rs, err := iptables.Parse(strings.NewReader(text), family)
	require.NoError(tb, err)
	return rs
}

// serve opens a server in a namespace: it tells each client whom it sees, and sends back what it gets.
func serve(tb testing.TB, h netns.Handle, network, addr string) {
	tb.Helper()
	var busy sync.WaitGroup
	if strings.HasPrefix(network, "udp") {
		var c net.PacketConn
		require.NoError(tb, h.Do(func() (err error) {
			c, err = (&net.ListenConfig{}).ListenPacket(tb.Context(), network, addr)
			return err
		}))
		busy.Go(func() {
			b := make([]byte, 1<<16)
			for {
				n, from, err := c.ReadFrom(b)
				if err != nil {
					return
				}
				_, _ = c.WriteTo(append([]byte(host(from)+"\n"), b[:n]...), from)
			}
		})
		tb.Cleanup(func() { _ = c.Close(); busy.Wait() })
		return
	}
	var l net.Listener
	require.NoError(tb, h.Do(func() (err error) {
		l, err = (&net.ListenConfig{}).Listen(tb.Context(), network, addr)
		return err
	}))
	busy.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			stop := context.AfterFunc(tb.Context(), func() { _ = c.Close() })
			busy.Go(func() {
				defer stop()
				_, _ = io.WriteString(c, host(c.RemoteAddr())+"\n")
				_, _ = io.Copy(c, c)
				_ = c.Close()
			})
		}
	})
	tb.Cleanup(func() { _ = l.Close(); busy.Wait() })
}

func host(a net.Addr) string { return netip.MustParseAddrPort(a.String()).Addr().Unmap().String() }

// ask has a client send a payload, and tells what came of it: whom the server saw and whether the payload came back, or the error.
func ask(ctx context.Context, from netns.Handle, network, addr string, payload []byte, options func(fd int) error) string {
	return askAs(ctx, from, nil, network, addr, payload, options)
}

// askAs is ask of a client with that address.
func askAs(ctx context.Context, from netns.Handle, as net.Addr, network, addr string, payload []byte, options func(fd int) error) string {
	const patience = 5 * time.Second
	d := net.Dialer{Timeout: patience, LocalAddr: as, Control: func(_, _ string, c syscall.RawConn) (err error) {
		if options != nil {
			_ = c.Control(func(fd uintptr) { err = options(int(fd)) })
		}
		return err
	}}
	var c net.Conn
	if err := from.Do(func() (err error) { c, err = d.DialContext(ctx, network, addr); return err }); err != nil {
		return cause(err)
	}
	defer c.Close() //nolint:errcheck // what came of it is known
	_ = c.SetDeadline(time.Now().Add(patience))
	var sending sync.WaitGroup
	sending.Go(func() { _, _ = c.Write(payload) })
	defer sending.Wait()
	in := bufio.NewReaderSize(c, 1<<16)
	seen, err := in.ReadString('\n')
	if err != nil {
		return cause(err)
	}
	back := make([]byte, len(payload))
	if _, err := io.ReadFull(in, back); err != nil {
		return seen + cause(err)
	}
	if string(back) != string(payload) {
		return seen + "another payload"
	}
	return "seen as " + strings.TrimSpace(seen)
}

// cause is the errno of an error, or that it took too long.
func cause(err error) string {
	var errno syscall.Errno
	switch {
	case errors.As(err, &errno):
		return errno.Error()
	case errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded):
		return "no answer"
	}
	return err.Error()
}

func addrPort(text string) netip.AddrPort { return netip.MustParseAddrPort(text) }
