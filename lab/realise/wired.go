package realise

import (
	"errors"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"natlab/lab/netns"
	"natlab/lab/tunnel"
	"natlab/topology"
)

// wiredTunnel is a tunnel on a veth pair, the far end of which is in a namespace without a name, which ends with the tunnel. The near end has no
// neighbours, and speaks IPv4 alone, as an ipip device does.
func (b *builder) wiredTunnel(c tunnel.Config) (*tunnel.Tunnel, error) {
	far, err := netns.Nameless()
	if err != nil {
		return nil, err
	}
	defer far.Close() //nolint:errcheck // the tunnel's socket keeps it
	c.Wire = &tunnel.Wire{Namespace: far, Device: "far"}
	fd, err := far.Fd()
	if err != nil {
		return nil, err
	}
	a := netlink.NewLinkAttrs()
	a.Name = c.Device
	if err := b.nl.LinkAdd(&netlink.Veth{LinkAttrs: a, PeerName: c.Wire.Device, PeerTxQLen: -1, PeerNamespace: netlink.NsFd(fd)}); err != nil {
		return nil, err
	}
	link, err := b.nl.LinkByName(c.Device)
	if err == nil {
		c.Wire.To = link.Attrs().HardwareAddr
		err = b.nl.LinkSetARPOff(link)
	}
	if err == nil {
		err = b.handle.Do(func() error { return withoutIPv6(c.Device) })
	}
	if err == nil {
		err = far.Do(func() error { return errors.Join(withoutIPv6(c.Wire.Device), setUp(c.Wire.Device)) })
	}
	if err != nil {
		return nil, err
	}
	return tunnel.Open(b.handle, c)
}

// withoutIPv6 keeps a device of the calling thread's namespace from IPv6.
func withoutIPv6(device string) error {
	var settings tree
	defer settings.close()
	return writeSysctl(&settings, topology.Sysctl{Key: "net/ipv6/conf/" + device + "/disable_ipv6", Value: "1"})
}

// setUp sets a device of the calling thread's namespace up.
func setUp(device string) error {
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer nl.Close()
	link, err := nl.LinkByName(device)
	if err != nil {
		return err
	}
	return nl.LinkSetUp(link)
}
