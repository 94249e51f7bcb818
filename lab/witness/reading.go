package witness

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"natlab/nat/proof"
)

// pump reads everything there is.
func (m *member) pump() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pumpLocked()
}

func (m *member) pumpLocked() {
	if m.closed {
		return
	}
	before := m.seen.n
	clear(m.devices)
	m.err = errors.Join(m.err, m.readRules(), m.readConns())
	if m.seen.n != before {
		m.wake()
	}
}

// drain is a pump that takes what was seen, and puts it behind out.
func (m *member) drain(out []proof.Observation) ([]proof.Observation, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pumpLocked()
	out = m.seen.take(out)
	err := m.err
	m.err = nil
	return out, err
}

// kept makes an observation of a packet hold its bytes, where packets are kept.
func (m *member) kept(o *proof.Observation, payload []byte) {
	if m.keep {
		o.Packet, o.At = bytes.Clone(payload), time.Now()
	}
}

func (m *member) record(o *proof.Observation) {
	o.Seq = m.seq.Add(1)
	m.seen.add(o)
}

// readRules takes what the trace and the log have. Where the taps' packets are all in the log, that is read first: what such a packet met
// before it came to the tap is then in what is read next.
func (m *member) readRules() error {
	if m.copies {
		err := m.readLog()
		if m.plane != nil {
			return errors.Join(err, m.readPlane())
		}
		return errors.Join(err, m.readTrace())
	}
	if m.plane != nil {
		return errors.Join(m.readPlane(), m.readLog())
	}
	return errors.Join(m.readTrace(), m.readLog())
}

// readPlane takes what there is of rules and connections where they are not the kernel's. Without taps rules are not asked for.
func (m *member) readPlane() error {
	r, err := m.plane.Read()
	if err != nil {
		return fmt.Errorf("the plane of %s: %w", m.name, err)
	}
	m.planeSaw = PlaneReport{Lost: r.Lost, Counters: r.Counters}
	for i := range r.Seen {
		if r.Seen[i].Kind == proof.ConnSeen || m.table {
			m.record(&r.Seen[i])
		}
	}
	return nil
}

func (m *member) readTrace() error {
	if m.trace == nil {
		return nil
	}
	fresh := false
	return m.readAll(m.trace, func(f frame) error {
		if f.kind != nftTrace {
			return nil
		}
		t := m.parseTrace(f)
		if t.table == m.own {
			return nil
		}
		if !fresh { // asked for once a reading, and not where natlab's own table is all that there is
			fresh = true
			if err := m.refreshPlaces(); err != nil {
				return fmt.Errorf("read the places of the nf_tables rules: %w", err)
			}
		}
		if o, ok := m.ruleHit(t); ok {
			m.record(&o)
		}
		return nil
	})
}

func (m *member) readLog() error {
	if m.log == nil {
		return nil
	}
	return m.readAll(m.log, func(f frame) error {
		if f.kind != logPacket {
			return nil
		}
		if o, ok := m.logHit(f); ok {
			m.record(&o)
		}
		return nil
	})
}

func (m *member) readConns() error {
	if m.conns == nil {
		return nil
	}
	return m.readAll(m.conns, func(f frame) error {
		o, ok, err := m.connEvent(f)
		if ok {
			m.record(&o)
		}
		return err
	})
}

// readAll reads a socket until it would block.
func (m *member) readAll(s *socket, use func(frame) error) error {
	for {
		n, ok, err := s.read(m.buf)
		if err != nil || !ok {
			return err
		}
		if err := m.each(m.buf[:n], use); err != nil {
			return err
		}
	}
}

// each calls use for every message of a datagram but those of netlink itself.
func (m *member) each(b []byte, use func(frame) error) error {
	for len(b) > 0 {
		var f frame
		var err error
		if f, b, err = nextFrame(b); err != nil {
			return err
		}
		if f.kind <= unix.NLMSG_OVERRUN {
			continue
		}
		if err := use(f); err != nil {
			return err
		}
	}
	return nil
}

// device is the name of a device of this namespace, "" for index 0 and for one that is gone. It is asked for anew for each reading of the
// sockets: an index can come to mean another device.
func (m *member) device(index uint32) string {
	if index == 0 {
		return ""
	}
	name, known := m.devices[index]
	if !known {
		name = m.askDevice(index)
		m.devices[index] = name
	}
	return name
}

func (m *member) askDevice(index uint32) string {
	request, err := unix.NewIfreq("")
	if err != nil {
		return ""
	}
	request.SetUint32(index)
	if err := unix.IoctlIfreq(m.control.fd, unix.SIOCGIFNAME, request); err != nil {
		return ""
	}
	return request.Name()
}
