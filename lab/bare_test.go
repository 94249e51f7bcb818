package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"natlab/lab/netns"
	"natlab/nat"
	"natlab/nat/kubeproxy"
	"natlab/topology"
)

// BenchmarkBareUp makes the kernel calls of BenchmarkUp and nothing else: every message and every text is there before the
// clock starts, nothing is checked, looked up, written down or put in order, and as many namespaces are worked on at a
// time. BenchmarkUp divided by it is what the lab costs over what the kernel costs.
func BenchmarkBareUp(b *testing.B) {
	c := reference(b)
	plan, err := topology.NewPlan(c)
	require.NoError(b, err)
	for b.Loop() {
		b.StopTimer()
		bare := newBare(b, c, plan)
		b.StartTimer()
		require.NoError(b, bare.up())
		b.StopTimer()
		bare.down(b)
		settle(b)
		b.StartTimer()
	}
}

// bareLab is a lab as lists of what to tell the kernel.
type bareLab struct {
	all []*bareSite
	fds map[string]int // by namespace name
}

type bareSite struct {
	ns      topology.Namespace
	ipip    []topology.Device
	socket  int
	links   []func() []byte // built late only for the descriptor of the peer's namespace
	restore string          // iptables-restore input
	listen  []topology.Server
	open    []int
}

func newBare(tb testing.TB, c topology.Cluster, plan topology.Plan) *bareLab {
	tb.Helper()
	l := &bareLab{fds: map[string]int{}}
	servers := topology.Servers(c)
	for _, ns := range plan.Namespaces {
		s := &bareSite{ns: ns}
		for _, server := range servers {
			if server.Member == ns.Member {
				s.listen = append(s.listen, server)
			}
		}
		if ns.Kind == topology.KindNode {
			rs, err := kubeproxy.Rules(c, ns.Member, kubeproxy.Options{Family: nat.IPv4})
			require.NoError(tb, err)
			s.restore = rs.Restore()
		}
		l.all = append(l.all, s)
	}
	for _, s := range l.all {
		s.buildLinks(l)
	}
	return l
}

func (s *bareSite) buildLinks(l *bareLab) {
	for _, d := range s.ns.Devices {
		switch {
		case d.Kind == topology.Bridge:
			s.links = append(s.links, func() []byte { return newLink(d, "bridge", nil) })
		case d.Kind == topology.TunnelIPIP:
			s.ipip = append(s.ipip, d)
		case d.Kind == topology.Veth && d.Create:
			far := l.find(d.Peer)
			s.links = append(s.links, func() []byte {
				peer := nl.NewRtAttr(nl.VETH_INFO_PEER, nil)
				nl.NewIfInfomsgChild(peer, unix.AF_UNSPEC)
				peer.AddRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(far.Name))
				peer.AddRtAttr(unix.IFLA_MTU, nl.Uint32Attr(uint32(far.MTU)))
				mac, _ := net.ParseMAC(far.MAC)
				peer.AddRtAttr(unix.IFLA_ADDRESS, mac)
				peer.AddRtAttr(unix.IFLA_NET_NS_FD, nl.Uint32Attr(uint32(l.fds[d.Peer.Namespace])))
				return newLink(d, "veth", peer)
			})
		}
	}
}

func (l *bareLab) find(p topology.Peer) topology.Device {
	for _, s := range l.all {
		for _, d := range s.ns.Devices {
			if s.ns.Name == p.Namespace && d.Name == p.Device {
				return d
			}
		}
	}
	return topology.Device{}
}

func newLink(d topology.Device, kind string, data *nl.RtAttr) []byte {
	req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	req.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(d.Name)))
	req.AddData(nl.NewRtAttr(unix.IFLA_MTU, nl.Uint32Attr(uint32(d.MTU))))
	mac, _ := net.ParseMAC(d.MAC)
	req.AddData(nl.NewRtAttr(unix.IFLA_ADDRESS, mac))
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated(kind))
	if data != nil {
		info.AddRtAttr(nl.IFLA_INFO_DATA, nil).AddChild(data)
	}
	req.AddData(info)
	return req.Serialize()
}

// up is timed.
func (l *bareLab) up() error {
	err := each(context.Background(), l.all, (*bareSite).create)
	for _, s := range l.all {
		if len(s.open) > 0 {
			l.fds[s.ns.Name] = s.open[0]
		}
	}
	for _, step := range []func(*bareSite) error{(*bareSite).makeLinks, (*bareSite).configure, (*bareSite).rules} {
		if err == nil {
			err = each(context.Background(), l.all, step)
		}
	}
	return err
}

func (l *bareLab) down(tb testing.TB) {
	tb.Helper()
	for _, s := range l.all {
		for _, fd := range s.open {
			_ = unix.Close(fd)
		}
		require.NoError(tb, netns.Delete(s.ns.Name))
	}
}

// inside runs f on a thread that dies after it.
func inside(enter func() error, f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := enter()
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

func (s *bareSite) create() error {
	path := netns.Dir + "/" + s.ns.Name
	return inside(func() error { return unix.Unshare(unix.CLONE_NEWNET) }, func() error {
		file, err := unix.Open(path, unix.O_CREAT|unix.O_EXCL|unix.O_RDONLY, 0o444)
		if err != nil {
			return err
		}
		_ = unix.Close(file)
		if err := unix.Mount("/proc/thread-self/ns/net", path, "none", unix.MS_BIND, ""); err != nil {
			return err
		}
		own, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		s.open = append(s.open, own)
		if s.socket, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE); err != nil {
			return err
		}
		s.open = append(s.open, s.socket)
		return errors.Join(s.sysctls(false), s.makeTUNs())
	})
}

func (s *bareSite) sysctls(ofDevice bool) error {
	for _, ctl := range s.ns.Sysctls {
		if (ctl.Device != "") == ofDevice {
			fd, err := unix.Open("/proc/sys/"+ctl.Key, unix.O_WRONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			_, err = unix.Write(fd, []byte(ctl.Value))
			if err = errors.Join(err, unix.Close(fd)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *bareSite) makeTUNs() error {
	for _, d := range s.ipip {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		s.open = append(s.open, fd)
		request, err := unix.NewIfreq(d.Name)
		if err != nil {
			return err
		}
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		if err := errors.Join(unix.IoctlIfreq(fd, unix.TUNSETIFF, request), unix.IoctlSetInt(fd, unix.TUNSETPERSIST, 1)); err != nil {
			return err
		}
		for _, protocol := range []int{unix.IPPROTO_RAW, unix.IPPROTO_IPIP} {
			raw, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
			if err != nil {
				return err
			}
			s.open = append(s.open, raw)
		}
	}
	return nil
}

func (s *bareSite) makeLinks() error {
	for _, build := range s.links {
		if err := s.tell(build()); err != nil {
			return fmt.Errorf("%s: link: %w", s.ns.Name, err)
		}
	}
	return nil
}

// tell sends one message and waits for its acknowledgement.
func (s *bareSite) tell(message []byte) error {
	if err := unix.Sendto(s.socket, message, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	var answer [4096]byte
	n, _, err := unix.Recvfrom(s.socket, answer[:], 0)
	if err != nil || n < 20 {
		return err
	}
	if code := int32(binary.NativeEndian.Uint32(answer[16:])); code != 0 {
		return unix.Errno(-code)
	}
	return nil
}

func (s *bareSite) configure() error {
	index := map[string]int{}
	err := inside(func() error { return unix.Setns(s.open[0], unix.CLONE_NEWNET) }, func() error {
		for _, d := range s.ns.Devices {
			i, err := net.InterfaceByName(d.Name)
			if err != nil {
				return err
			}
			index[d.Name] = i.Index
		}
		for _, server := range s.listen {
			// Bound below, when the address is there; the socket itself is made here.
			kind := unix.SOCK_STREAM
			if server.Proto == "udp" {
				kind = unix.SOCK_DGRAM
			}
			fd, err := unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return err
			}
			s.open = append(s.open, fd)
		}
		return s.sysctls(true)
	})
	if err != nil {
		return err
	}
	for _, message := range s.messages(index) {
		if err := s.tell(message); err != nil {
			return fmt.Errorf("%s: %w", s.ns.Name, err)
		}
	}
	return s.bind()
}

func (s *bareSite) bind() error {
	fds := s.open[len(s.open)-len(s.listen):]
	for i, server := range s.listen {
		if err := unix.Bind(fds[i], &unix.SockaddrInet4{Addr: server.Addr.Addr().As4(), Port: int(server.Addr.Port())}); err != nil {
			return err
		}
		if server.Proto == "tcp" {
			if err := unix.Listen(fds[i], 128); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *bareSite) rules() error {
	if s.restore == "" {
		return nil
	}
	cmd := exec.CommandContext(context.Background(), "iptables-legacy-restore")
	cmd.Stdin = strings.NewReader(s.restore)
	cmd.Env = append(os.Environ(), "XTABLES_LOCKFILE=/proc/self/ns/net")
	err := inside(func() error { return unix.Setns(s.open[0], unix.CLONE_NEWNET) }, cmd.Start)
	return errors.Join(err, cmd.Wait())
}
