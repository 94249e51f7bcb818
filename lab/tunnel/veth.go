package tunnel

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// wire is the far end of a veth pair: a packet socket without link headers (SOCK_DGRAM), so that it carries what a TUN device carries.
type wire struct {
	*os.File
	conn syscall.RawConn
	to   unix.SockaddrLinklayer
}

// openWire opens the far end, of which IPv4 alone is read. The socket keeps its namespace alive, and with it the pair.
func openWire(w Wire) (device, error) {
	var out wire
	err := w.Namespace.Do(func() error {
		link, err := net.InterfaceByName(w.Device)
		if err != nil {
			return err
		}
		const ipv4 = unix.ETH_P_IP<<8&0xff00 | unix.ETH_P_IP>>8 // in network order
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return fmt.Errorf("packet socket: %w", err)
		}
		growBuffer(fd)
		// A device that was up before its other end was gets its queue within a second (linkwatch): until then only what passes by the queue is sent.
		if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1); err != nil {
			return errors.Join(fmt.Errorf("packet socket: PACKET_QDISC_BYPASS: %w", err), unix.Close(fd))
		}
		out.to = unix.SockaddrLinklayer{Protocol: ipv4, Ifindex: link.Index}
		out.to.Halen = uint8(copy(out.to.Addr[:], w.To))
		if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: ipv4, Ifindex: link.Index}); err != nil {
			return errors.Join(fmt.Errorf("packet socket: %w", err), unix.Close(fd))
		}
		out.File = os.NewFile(uintptr(fd), w.Device)
		out.conn, err = out.SyscallConn()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("far end %s: %w", w.Device, err)
	}
	return &out, nil
}

// Read waits for a packet. That the device is down for a while is no end of it.
func (w *wire) Read(b []byte) (int, error) {
	for {
		n, err := w.File.Read(b)
		if !errors.Is(err, unix.ENETDOWN) {
			return n, err
		}
	}
}

// Write hands a packet to the device.
func (w *wire) Write(b []byte) (int, error) {
	var inner error
	err := w.conn.Write(func(fd uintptr) bool {
		inner = unix.Sendto(int(fd), b, 0, &w.to)
		return !errors.Is(inner, unix.EAGAIN)
	})
	if err == nil {
		err = inner
	}
	if err != nil {
		return 0, err
	}
	return len(b), nil
}

// forsake has nothing to do: the pair ends with the socket's namespace.
func (w *wire) forsake() error { return nil }

// ETHTOOL_STXCSUM of linux/ethtool.h.
const ethtoolSetTxChecksum = 0x17

// plainPackets makes the kernel finish a device's packets before the device has them: without a checksum by the device there is no segmentation
// by it either (netdev_fix_features in net/core/dev.c). It runs in the device's namespace.
func plainPackets(device string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	value := struct{ command, data uint32 }{ethtoolSetTxChecksum, 0}
	var request struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [24 - unsafe.Sizeof(uintptr(0))]byte // struct ifreq has a union of 24 bytes
	}
	copy(request.name[:unix.IFNAMSIZ-1], device)
	request.data = unsafe.Pointer(&value)                                                                         // #nosec G103 -- ifr_data is a pointer
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request))) // #nosec G103 -- struct ifreq
	runtime.KeepAlive(&value)
	if errno != 0 {
		err = fmt.Errorf("device %s: switch checksum offload off: %w", device, errno)
	}
	return errors.Join(err, unix.Close(fd))
}
