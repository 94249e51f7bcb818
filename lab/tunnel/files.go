package tunnel

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// ErrNoTUN is a process that may make no TUN device: the file is not there, or not for it.
var ErrNoTUN = errors.New("no TUN device")

// openTUN makes the device in the calling thread's namespace. It is persistent, so that the death of the process does not
// take it away: the kernel is some 20 ms at it for each, while a namespace that ends takes all its devices in one go. The descriptor becomes pollable only after TUNSETIFF, so
// it is handed to os.File after that.
func openTUN(name string) (device, error) {
	const path = "/dev/net/tun"
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrNoTUN, path, err)
	}
	request, err := unix.NewIfreq(name)
	if err == nil {
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_TUN_EXCL)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make a TUN device: %w", err), unix.Close(fd))
	}
	// ip(8) shows "link/ipip" as it does for the kernel's device. A kernel that does not know the request shows "link/none".
	_ = unix.IoctlSetInt(fd, unix.TUNSETLINK, unix.ARPHRD_TUNNEL)
	if err := unix.IoctlSetInt(fd, unix.TUNSETPERSIST, 1); err != nil {
		return nil, errors.Join(fmt.Errorf("make a persistent TUN device: %w", err), unix.Close(fd))
	}
	return tun{os.NewFile(uintptr(fd), name)}, nil
}

// tun is the descriptor of a TUN device.
type tun struct{ *os.File }

// forsake makes the device go away with its last descriptor, which this is.
func (t tun) forsake() error {
	raw, err := t.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = unix.IoctlSetInt(int(fd), unix.TUNSETPERSIST, 0) }); err != nil {
		return err
	}
	if errors.Is(inner, unix.EBADFD) { // somebody deleted the device
		return nil
	}
	return inner
}

func openRaw(protocol int) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
	if err != nil {
		return nil, fmt.Errorf("raw socket of protocol %d: %w", protocol, err)
	}
	growBuffer(fd)
	return os.NewFile(uintptr(fd), fmt.Sprintf("raw socket of protocol %d", protocol)), nil
}

// growBuffer makes room for a burst. Without CAP_NET_ADMIN over the machine it is as much as net.core.rmem_max allows, and otherwise what it was.
func growBuffer(fd int) {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
	}
}
