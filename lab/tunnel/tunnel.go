package tunnel

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Namespace is the node's network namespace: netns.Handle.
type Namespace interface {
	Do(f func() error) error
}

// Hop is a route into the tunnel: a packet for Dst goes in an outer packet to Via.
type Hop struct {
	Dst netip.Prefix // IPv4
	Via netip.Addr   // IPv4
}

// Config is one end of the tunnel.
type Config struct {
	Device string     // the device's name: "tunl0"
	Wire   *Wire      // nil: Device is made, as a TUN device
	Local  netip.Addr // the outer source address, one of the node's own
	Hops   []Hop      // the longest Dst that holds a packet's destination wins; a packet that none holds is dropped
}

// Wire is where a process without /dev/net/tun reads and writes: Device is there already, one end of a veth pair, and this is the other end.
type Wire struct {
	Namespace Namespace
	Device    string
	To        net.HardwareAddr // of Config.Device
}

// device is tunl0 as its user-space end has it: a Read is a packet that was routed there, a Write is one that arrives there.
type device interface {
	io.ReadWriteCloser
	forsake() error // Close is to take the device away, too
}

// Stats counts packets since Open.
type Stats struct {
	Sent, Received uint64
	NoRoute        uint64 // inner packets that no Hop is for, or that are not IPv4
	Malformed      uint64 // outer packets with no IPv4 packet inside
	TooBig         uint64 // inner packets with DF that did not fit the underlay: answered by ICMP
	SendErrors     uint64 // the kernel refused the outer packet: no route, dropped in OUTPUT
}

// Tunnel is one node's end of the tunnel, at work until Close.
type Tunnel struct {
	tun  device
	send *os.File // raw, IP_HDRINCL: sends only
	recv *os.File // raw, protocol 4: receives only

	local [4]byte
	hops  []hop // longest prefix first

	ending sync.Once
	wait   sync.WaitGroup
	stats  struct{ sent, received, noRoute, malformed, tooBig, sendErrors atomic.Uint64 }
}

type hop struct {
	net, mask uint32
	via       [4]byte
}

// receiveBuffer holds a burst of outer packets while the process does something else.
const receiveBuffer = 8 << 20

// Open makes the device, which is down and has no address yet, and starts to carry packets. The device goes away with
// Close, or with its namespace.
func Open(ns Namespace, c Config) (*Tunnel, error) {
	t := &Tunnel{}
	var err error
	if !c.Local.Is4() {
		return nil, fmt.Errorf("local address %s is not an IPv4 one", c.Local)
	}
	t.local = c.Local.As4()
	if t.hops, err = sortHops(c.Hops); err != nil {
		return nil, err
	}
	err = ns.Do(func() (err error) {
		if c.Wire != nil {
			err = plainPackets(c.Device)
		} else {
			t.tun, err = openTUN(c.Device)
		}
		if err != nil {
			return err
		}
		// A socket of protocol IPPROTO_RAW never receives; one of protocol 4 gets a copy of each outer packet after
		// INPUT, and its being there keeps the kernel from answering "protocol unreachable".
		if t.send, err = openRaw(unix.IPPROTO_RAW); err != nil {
			return err
		}
		t.recv, err = openRaw(unix.IPPROTO_IPIP)
		return err
	})
	if err == nil && c.Wire != nil {
		t.tun, err = openWire(*c.Wire)
	}
	if err != nil {
		return nil, errors.Join(err, t.closeFiles())
	}
	out, err := newSender(t)
	if err != nil {
		return nil, errors.Join(err, t.closeFiles())
	}
	t.wait.Go(out.run)
	t.wait.Go(t.receive)
	return t, nil
}

// Close ends the tunnel and takes its device away. It may be called twice.
func (t *Tunnel) Close() error {
	var err error
	t.ending.Do(func() { err = errors.Join(t.tun.forsake(), t.closeFiles()) })
	t.wait.Wait()
	return err
}

// Abandon ends the tunnel and leaves the device, without a carrier, to its namespace: for one that ends too, this is the
// quick way. It may be called twice; of Close and Abandon the first one counts.
func (t *Tunnel) Abandon() error {
	var err error
	t.ending.Do(func() { err = t.closeFiles() })
	t.wait.Wait()
	return err
}

// Stats returns what the tunnel has carried so far. A packet is counted once it has been handed on, so it may arrive before
// it is counted; after Close the counts are final.
func (t *Tunnel) Stats() Stats {
	return Stats{
		Sent:       t.stats.sent.Load(),
		Received:   t.stats.received.Load(),
		NoRoute:    t.stats.noRoute.Load(),
		Malformed:  t.stats.malformed.Load(),
		TooBig:     t.stats.tooBig.Load(),
		SendErrors: t.stats.sendErrors.Load(),
	}
}

func (t *Tunnel) closeFiles() error {
	var all []error
	if t.tun != nil {
		all = append(all, t.tun.Close())
	}
	for _, f := range []*os.File{t.send, t.recv} {
		if f != nil {
			all = append(all, f.Close())
		}
	}
	return errors.Join(all...)
}

func sortHops(in []Hop) ([]hop, error) {
	in = slices.Clone(in)
	slices.SortStableFunc(in, func(a, b Hop) int { return b.Dst.Bits() - a.Dst.Bits() })
	out := make([]hop, 0, len(in))
	for _, h := range in {
		if !h.Dst.IsValid() || !h.Dst.Addr().Is4() || !h.Via.Is4() {
			return nil, fmt.Errorf("route %s via %s is not an IPv4 one", h.Dst, h.Via)
		}
		dst := h.Dst.Masked()
		out = append(out, hop{
			net:  be32(dst.Addr().AsSlice()),
			mask: uint32(0xffffffff) << (32 - dst.Bits()), // a shift by 32 gives 0
			via:  h.Via.As4(),
		})
	}
	return out, nil
}

// via finds the outer destination for an inner one.
func (t *Tunnel) via(dst uint32) ([4]byte, bool) {
	for i := range t.hops {
		if dst&t.hops[i].mask == t.hops[i].net {
			return t.hops[i].via, true
		}
	}
	return [4]byte{}, false
}
