package tunnel

import (
	"encoding/binary"
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// sender is the way out: inner packets from the device, outer ones to the raw socket. One goroutine uses it; all it
// needs for a packet it holds, so that a packet costs no allocation.
type sender struct {
	t    *Tunnel
	conn syscall.RawConn
	buf  [headerLen + maxPacket]byte // the outer header's room, then the inner packet
	to   unix.SockaddrInet4
	next []byte // what write sends
	err  error  // what came of it
	id   uint16 // of the last packet that had to be fragmented here

	write func(fd uintptr) bool // made once
}

func newSender(t *Tunnel) (*sender, error) {
	conn, err := t.send.SyscallConn()
	if err != nil {
		return nil, err
	}
	s := &sender{t: t, conn: conn}
	s.write = func(fd uintptr) bool {
		s.err = unix.Sendto(int(fd), s.next, 0, &s.to)
		return !errors.Is(s.err, unix.EAGAIN)
	}
	return s, nil
}

func (s *sender) run() {
	for {
		n, err := s.t.tun.Read(s.buf[headerLen:])
		if err != nil {
			return // closed, or somebody deleted the device: while it is only down, Read waits
		}
		s.packet(s.buf[headerLen : headerLen+n])
	}
}

// packet sends one inner packet, which lies in buf behind the outer header's room.
func (s *sender) packet(p []byte) {
	length, ok := validIPv4(p)
	if !ok || length > maxPacket-headerLen {
		s.t.stats.noRoute.Add(1)
		return
	}
	p = p[:length]
	via, ok := s.t.via(be32(p[16:]))
	if !ok {
		s.t.stats.noRoute.Add(1)
		return
	}
	putOuter(s.buf[:headerLen], p, s.t.local, via)
	s.to.Addr = via
	err := s.transmit(s.buf[:headerLen+length])
	if errors.Is(err, unix.EMSGSIZE) {
		err = s.tooBig(p)
	}
	if err != nil {
		s.t.stats.sendErrors.Add(1)
		return
	}
	s.t.stats.sent.Add(1)
}

func (s *sender) transmit(packet []byte) error {
	s.next = packet
	if err := s.conn.Write(s.write); err != nil {
		return err
	}
	return s.err
}

// tooBig is for an outer packet that is longer than the out device's MTU: a raw socket does not fragment. With DF the
// sender is told, as the kernel's tunnel does; without, the outer packet goes in pieces.
func (s *sender) tooBig(p []byte) error {
	mtu, err := s.pathMTU()
	if err != nil {
		return err
	}
	if binary.BigEndian.Uint16(p[6:])&flagDF == 0 {
		return s.fragments(s.buf[:headerLen+len(p)], mtu)
	}
	s.t.stats.tooBig.Add(1)
	var answer [576]byte
	n := putTooBig(answer[:], p, mtu-headerLen)
	if _, err := s.t.tun.Write(answer[:n]); err != nil {
		return err
	}
	return unix.EMSGSIZE
}

// pathMTU asks the kernel for the MTU of the route to s.to, with a socket of its own namespace.
func (s *sender) pathMTU() (int, error) {
	var mtu int
	var inner error
	err := s.conn.Control(func(fd uintptr) {
		if inner = unix.Connect(int(fd), &s.to); inner != nil {
			return
		}
		mtu, inner = unix.GetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU)
		// A connected raw socket sends wherever the packet's own header has it, as before.
	})
	if err == nil {
		err = inner
	}
	if err == nil && mtu < 68 {
		err = unix.EMSGSIZE
	}
	return mtu, err
}

// fragments sends an outer packet in pieces that fit the MTU (RFC 791, 3.2). Each piece but the first is built over
// the bytes that went before it, so nothing is copied but headers.
func (s *sender) fragments(packet []byte, mtu int) error {
	var header [headerLen]byte
	copy(header[:], packet)
	s.id++
	if s.id == 0 { // the kernel would put its own, a different one in each piece
		s.id++
	}
	step := (mtu - headerLen) &^ 7
	for at := headerLen; at < len(packet); at += step {
		end := min(at+step, len(packet))
		piece := packet[at-headerLen : end]
		copy(piece, header[:])
		binary.BigEndian.PutUint16(piece[2:], uint16(len(piece)))
		binary.BigEndian.PutUint16(piece[4:], s.id)
		field := uint16(at-headerLen) / 8 & offsetMask
		if end < len(packet) {
			field |= flagMF
		}
		binary.BigEndian.PutUint16(piece[6:], field)
		if err := s.transmit(piece); err != nil {
			return err
		}
	}
	return nil
}

// receive is the way in: outer packets from the raw socket, inner ones to the device.
func (t *Tunnel) receive() {
	buf := make([]byte, maxPacket+1)
	for {
		n, err := t.recv.Read(buf)
		if errors.Is(err, os.ErrClosed) {
			return
		}
		if err != nil {
			continue // an ICMP error about an earlier packet: it means nothing for the next
		}
		packet, ok := inner(buf[:n])
		if !ok {
			t.stats.malformed.Add(1)
			continue
		}
		if _, err := t.tun.Write(packet); err != nil {
			if errors.Is(err, os.ErrClosed) || deviceGone(err) {
				return
			}
			continue // the device is down
		}
		t.stats.received.Add(1)
	}
}

// deviceGone reports whether somebody deleted the device: nothing will ever come from it again.
func deviceGone(err error) bool { return errors.Is(err, unix.EBADFD) || errors.Is(err, unix.ENODEV) }
