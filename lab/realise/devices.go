package realise

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"natlab/lab/tunnel"
	"natlab/topology"
)

// TunnelKind is what tunl0 is in a lab.
type TunnelKind string

// The kinds of tunl0. A lab whose overlay is not IPIP has none.
const (
	NoTunnel        TunnelKind = ""
	KernelTunnel    TunnelKind = "kernel ipip"
	UserspaceTunnel TunnelKind = "userspace ipip" // lab/tunnel: the skb mark does not reach the outer packet
)

// ipipProbe finds out once for all nodes whether the kernel has an ipip device: asking costs a search for the module.
type ipipProbe struct {
	once sync.Once
	kind TunnelKind
}

// makeDevices makes the devices of which this namespace is the maker, and no other namespace has to be ready for.
func (b *builder) makeDevices(byName map[string]*builder) error {
	for _, d := range b.plan.Devices {
		var err error
		switch d.Kind {
		case topology.Bridge:
			err = b.makeBridge(d)
		case topology.Veth:
			if d.Create {
				err = b.makeVeth(d, byName[d.Peer.Namespace])
			}
		case topology.Loopback, topology.TunnelIPIP, topology.TunnelVXLAN, topology.PointToPoint: // there already; made in configure
		}
		if err != nil {
			return fmt.Errorf("device %s: %w", d.Name, err)
		}
	}
	return nil
}

// attributes is what a device has from birth.
func attributes(d topology.Device) (netlink.LinkAttrs, error) {
	a := netlink.NewLinkAttrs()
	a.Name, a.MTU = d.Name, d.MTU
	// A veth has a queue for every processor that the machine could have, which on a big one is most of its cost.
	a.NumTxQueues, a.NumRxQueues = 1, 1
	var err error
	a.HardwareAddr, err = parseMAC(d.MAC)
	return a, err
}

func parseMAC(s string) (net.HardwareAddr, error) {
	if s == "" {
		return nil, nil
	}
	return net.ParseMAC(s)
}

// makeBridge makes a plain switch: a new bridge has no spanning tree, so a port forwards from the start. Without
// snooping it floods multicast, as a switch that knows nothing of it does.
func (b *builder) makeBridge(d topology.Device) error {
	a, err := attributes(d)
	if err != nil {
		return err
	}
	snooping := false
	return b.nl.LinkAdd(&netlink.Bridge{LinkAttrs: a, MulticastSnooping: &snooping})
}

func (b *builder) makeVeth(d topology.Device, peer *builder) error {
	a, err := attributes(d)
	if err != nil {
		return err
	}
	far, ok := peer.device(d.Peer.Device)
	if !ok {
		return fmt.Errorf("its peer %s is not in the plan of %s", d.Peer.Device, d.Peer.Namespace)
	}
	mac, err := parseMAC(far.MAC)
	if err != nil {
		return err
	}
	fd, err := peer.handle.Fd()
	if err != nil {
		return err
	}
	return b.nl.LinkAdd(&netlink.Veth{
		LinkAttrs: a, PeerName: far.Name, PeerHardwareAddr: mac, PeerMTU: uint32(far.MTU),
		PeerTxQLen: -1, PeerNamespace: netlink.NsFd(fd),
	})
}

func (b *builder) device(name string) (topology.Device, bool) {
	if b != nil {
		for _, d := range b.plan.Devices {
			if d.Name == name {
				return d, true
			}
		}
	}
	return topology.Device{}, false
}

// makeTunnel makes tunl0: the kernel's where it has one, else a TUN device, or, where this process may make none, one end of a veth pair.
func (b *builder) makeTunnel(d topology.Device, ipip *ipipProbe) error {
	var err error
	ipip.once.Do(func() {
		ipip.kind = KernelTunnel
		if err = b.kernelTunnel(d); errors.Is(err, unix.EOPNOTSUPP) {
			ipip.kind, err = UserspaceTunnel, nil
		}
	})
	if err != nil {
		return err
	}
	if ipip.kind == KernelTunnel {
		return b.kernelTunnel(d)
	}
	c := tunnel.Config{Device: d.Name, Local: d.Local, Hops: b.hops(d.Name)}
	b.tunnel, err = tunnel.Open(b.handle, c)
	if errors.Is(err, tunnel.ErrNoTUN) {
		b.tunnel, err = b.wiredTunnel(c)
	}
	return err
}

// kernelTunnel makes sure of an ipip device of that name. With the module loaded, each namespace is born with a tunl0
// (net.core.fb_tunnels_only_for_init_net 0), as on the nodes of the reference cluster; else it is made like it.
func (b *builder) kernelTunnel(d topology.Device) error {
	link, err := b.nl.LinkByName(d.Name)
	if err == nil {
		if link.Type() != "ipip" {
			return fmt.Errorf("there is one of type %s", link.Type())
		}
		return nil
	}
	a := netlink.NewLinkAttrs()
	a.Name = d.Name
	err = b.nl.LinkAdd(&netlink.Iptun{LinkAttrs: a})
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	// The module came with this very request, and with it the namespace's own tunl0.
	if link, err = b.nl.LinkByName(d.Name); err == nil && link.Type() != "ipip" {
		err = fmt.Errorf("there is one of type %s", link.Type())
	}
	return err
}

// hops are the Plan's routes into a device, as the user-space tunnel needs them: the kernel does not tell a TUN device
// which next hop a packet was routed to.
func (b *builder) hops(device string) []tunnel.Hop {
	var out []tunnel.Hop
	for _, r := range b.plan.Routes {
		if r.Device == device && r.Via.Is4() {
			out = append(out, tunnel.Hop{Dst: r.Dst, Via: r.Via})
		}
	}
	return out
}

// takeUp finishes a device and sets it up.
func (b *builder) takeUp(d topology.Device) error {
	if d.Kind == topology.TunnelVXLAN {
		if err := b.makeVXLAN(d); err != nil {
			return err
		}
	}
	link, err := b.link(d.Name)
	if err != nil {
		return err
	}
	if d.Kind == topology.TunnelIPIP {
		if err := b.nl.LinkSetMTU(link, d.MTU); err != nil {
			return fmt.Errorf("mtu %d: %w", d.MTU, err)
		}
	}
	if d.Master != "" {
		master, err := b.link(d.Master)
		if err != nil {
			return err
		}
		if err := b.nl.LinkSetMasterByIndex(link, master.Index); err != nil {
			return fmt.Errorf("port of %s: %w", d.Master, err)
		}
		if err := b.port(link, d); err != nil {
			return fmt.Errorf("port of %s: hairpin mode: %w", d.Master, err)
		}
	}
	if err := b.nl.LinkSetUp(link); err != nil {
		return fmt.Errorf("up: %w", err)
	}
	return nil
}

// link is a device by name, without asking the kernel again.
func (b *builder) link(name string) (*netlink.Device, error) {
	index, ok := b.index[name]
	if !ok {
		return nil, fmt.Errorf("no device %s: %w", name, unix.ENODEV)
	}
	return &netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: name, Index: index}}, nil
}

// makeVXLAN makes the device as Calico's felix does: no learning, no checksum in the outer UDP header.
func (b *builder) makeVXLAN(d topology.Device) error {
	a, err := attributes(d)
	if err != nil {
		return err
	}
	parent, err := b.link(d.Parent)
	if err != nil {
		return err
	}
	dev := &netlink.Vxlan{LinkAttrs: a, VxlanId: d.VNI, Port: int(d.Port), VtepDevIndex: parent.Index, SrcAddr: d.Local.AsSlice()}
	if err := b.nl.LinkAdd(dev); err != nil {
		return err
	}
	b.index[d.Name] = dev.Index // LinkAdd asked for it
	return nil
}

// settle waits until every veth passes packets. A device whose other end came up after it drops what it is given until
// the kernel's link watch has looked at it, which may be a second later; to ask for one device makes it look at once
// (rtnl_getlink, since Linux 6.9).
func (b *builder) settle(ctx context.Context) error {
	const wait, step = 5 * time.Second, time.Millisecond
	for _, d := range b.plan.Devices {
		for waited := time.Duration(0); d.Kind == topology.Veth; waited += step {
			link, err := b.nl.LinkByIndex(b.index[d.Name])
			if err != nil {
				return fmt.Errorf("device %s: %w", d.Name, err)
			}
			if link.Attrs().RawFlags&unix.IFF_RUNNING != 0 {
				break
			}
			if err := ctx.Err(); err != nil || waited >= wait {
				return errors.Join(err, fmt.Errorf("device %s: no carrier after %v", d.Name, waited))
			}
			time.Sleep(step)
		}
	}
	return nil
}
