package witness

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"natlab/nat"
)

// Duplicate sends a copy of the packet where it is about to leave, out of the same device to the same neighbour; the
// packet itself stays held. Only TapPost is such a place: anywhere else a copy would meet the hooks as a packet of its
// own. A neighbour that was never talked to has no address yet, which is an error.
func (p *Packet) Duplicate() error {
	hop := p.Seen.Hop
	if hop.Tap != nat.TapPost {
		return fmt.Errorf("duplicate a packet at %s: it can be done at %s only", hop.Tap, nat.TapPost)
	}
	err := p.hold.m.ns.Do(func() error {
		to, err := nextHop(hop.Dev, p.Payload)
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		return errors.Join(unix.Sendto(fd, p.Payload, 0, to), unix.Close(fd))
	})
	if err != nil {
		return fmt.Errorf("duplicate %s at %s: %w", hop.Tuple, p.hold.m.name, err)
	}
	return nil
}

// nextHop is the link-layer address that a packet goes to, in the namespace of this thread.
func nextHop(dev string, packet []byte) (*unix.SockaddrLinklayer, error) {
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	defer nl.Close()
	link, err := nl.LinkByName(dev)
	if err != nil {
		return nil, err
	}
	etherType, family, dst := uint16(unix.ETH_P_IP), unix.AF_INET, net.IP(packet[16:20])
	if packet[0]>>4 == 6 {
		etherType, family, dst = unix.ETH_P_IPV6, unix.AF_INET6, net.IP(packet[24:40])
	}
	to := &unix.SockaddrLinklayer{
		Protocol: binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, etherType)),
		Ifindex:  link.Attrs().Index,
	}
	if len(link.Attrs().HardwareAddr) == 0 || link.Attrs().Flags&net.FlagLoopback != 0 {
		return to, nil // a tunnel or lo: nobody to address
	}
	routes, err := nl.RouteGetWithOptions(dst, &netlink.RouteGetOptions{Oif: dev})
	if err != nil {
		return nil, fmt.Errorf("find the way to %s: %w", dst, err)
	}
	if len(routes) > 0 && routes[0].Gw != nil {
		dst = routes[0].Gw
	}
	neighbours, err := nl.NeighList(to.Ifindex, family)
	if err != nil {
		return nil, fmt.Errorf("list the neighbours on %s: %w", dev, err)
	}
	for _, n := range neighbours {
		if n.IP.Equal(dst) && len(n.HardwareAddr) > 0 {
			to.Halen = uint8(copy(to.Addr[:], n.HardwareAddr))
			return to, nil
		}
	}
	return nil, fmt.Errorf("neighbour %s on %s has no address yet", dst, dev)
}
