package userspace

import (
	"encoding/binary"
	"time"

	"github.com/google/nftables"

	"natlab/nat"
)

// tally reads back what passed in the kernel, until the end.
func (g *Gateway) tally() {
	g.every(tallied, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.readBack()
	})
}

// readBack tells conntrack what passed in the kernel since it was told last, and lets expire what has to. The Gateway is locked.
func (g *Gateway) readBack() {
	o := g.offload
	if o == nil || len(o.passing) == 0 {
		return
	}
	g.commitOffload() // what is in the maps is what is known to be there
	for _, l := range lanes {
		if len(o.byCame[l]) == 0 {
			continue
		}
		all, err := o.conn.GetSetElements(o.came[l])
		if err != nil {
			continue // it is told by the next
		}
		now := time.Now()
		for _, e := range all {
			if w := o.byCame[l][string(e.Key)]; w != nil && e.Counter != nil {
				g.passed(w, e.Counter.Packets, e.Counter.Bytes, now)
			}
		}
	}
	g.expireWays(time.Now())
	g.commitOffload()
}

// passed takes over a way's counters.
func (g *Gateway) passed(w *way, packets, bytes uint64, now time.Time) {
	if packets == w.packets {
		return
	}
	g.table(w.conn).Passed(w.conn, w.dir, packets-w.packets, bytes-w.bytes, now)
	g.stats.Passed += packets - w.packets
	w.packets, w.bytes, w.used = packets, bytes, now
}

// expireWays takes ways from the maps whose connection is no more, has expired or been idle.
func (g *Gateway) expireWays(now time.Time) {
	o := g.offload
	for c, both := range o.ways {
		used := time.Time{}
		for _, w := range both {
			if w != nil && w.used.After(used) {
				used = w.used
			}
		}
		if c.Has(nat.Dying) || now.Sub(used) > idle || !now.Before(c.Expires()) {
			g.takeOff(c)
		}
	}
	for key, w := range o.passing {
		if !w.gone.IsZero() && now.Sub(w.gone) > passed {
			delete(o.passing, key)
		}
	}
	for c := range o.refused {
		if c.Has(nat.Dying) {
			delete(o.refused, c)
		}
	}
}

// commitOffload writes what is new to the maps, in one transaction. Where the kernel does not take it, no way is left in them. The Gateway is locked.
func (g *Gateway) commitOffload() {
	o := g.offload
	if o == nil || len(o.added)+len(o.gone) == 0 {
		return
	}
	err := o.write(o.gone, o.conn.SetDeleteElements)
	if err == nil {
		err = o.write(o.added, o.conn.SetAddElements)
	}
	if err == nil {
		err = o.conn.Flush()
	}
	o.added, o.gone = nil, nil
	if err == nil {
		return
	}
	g.stats.Unwritten++
	for c := range o.ways {
		g.table(c).Release(c)
	}
	o.begin()
	for _, l := range lanes {
		if s := o.came[l]; s != nil {
			o.conn.FlushSet(s)
			o.conn.FlushSet(o.routed[l])
		}
	}
	if o.conn.Flush() != nil {
		g.stats.Unwritten++
	}
}

// write hands over the elements of ways, by their maps.
func (o *offload) write(all []*way, to func(*nftables.Set, []nftables.SetElement) error) error {
	elements := map[*nftables.Set][]nftables.SetElement{}
	for _, w := range all {
		came, routed := o.came[w.lane()], o.routed[w.lane()]
		elements[came] = append(elements[came], nftables.SetElement{Key: w.cameKey(), Val: w.to(w.Routed.Dst().Addr().AsSlice(), w.Routed.Dst().Port())})
		elements[routed] = append(elements[routed], nftables.SetElement{Key: w.routedKey(), Val: w.to(w.Left.Src().Addr().AsSlice(), w.Left.Src().Port())})
	}
	for s, list := range elements {
		if err := to(s, list); err != nil {
			return err
		}
	}
	return nil
}

// cameKey is the way's key at PREROUTING: device, addresses, ports.
func (w *way) cameKey() []byte {
	return appendTuple(binary.NativeEndian.AppendUint32(nil, w.in), w.Came)
}

// routedKey is that behind it: both devices, addresses, ports.
func (w *way) routedKey() []byte {
	b := binary.NativeEndian.AppendUint32(nil, w.in)
	return appendTuple(binary.NativeEndian.AppendUint32(b, w.out), w.Routed)
}

func appendTuple(b []byte, t nat.Tuple) []byte {
	b = append(b, t.Src().Addr().AsSlice()...)
	b = append(b, t.Dst().Addr().AsSlice()...)
	b = binary.BigEndian.AppendUint16(b, t.Src().Port())
	return binary.BigEndian.AppendUint16(b, t.Dst().Port())
}

// to is an element's value: an address and a port.
func (*way) to(addr []byte, port uint16) []byte {
	return append(addr, byte(port>>8), byte(port), 0, 0)
}
