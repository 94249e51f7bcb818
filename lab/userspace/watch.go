package userspace

import (
	"errors"
	"fmt"
	"os"
	"reflect"

	"golang.org/x/sys/unix"

	"natlab/lab/netns"
	"natlab/lab/realise"
)

// watch hears when devices, addresses or routes of a namespace change.
type watch struct{ file *os.File }

func openWatch(ns netns.Handle) (*watch, error) {
	w := &watch{}
	err := ns.Do(func() error {
		fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
		if err != nil {
			return fmt.Errorf("open rtnetlink: %w", err)
		}
		w.file = os.NewFile(uintptr(fd), "rtnetlink")
		groups := uint32(unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR | unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_ROUTE)
		if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
			return errors.Join(fmt.Errorf("bind rtnetlink: %w", err), w.close())
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return w, nil
}

// each calls changed after every change, until the watch is closed; several that come together are one.
func (w *watch) each(changed func()) {
	raw, err := w.file.SyscallConn()
	if err != nil {
		return
	}
	buf := make([]byte, 1<<16)
	_ = raw.Read(func(fd uintptr) bool { // its error is that of a file that was closed
		some := false
		for {
			_, err := unix.Read(int(fd), buf)
			if err != nil && !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.ENOBUFS) {
				break
			}
			some = true
		}
		if some {
			changed()
		}
		return false
	})
}

func (w *watch) close() error {
	if err := w.file.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}

// follow keeps what the gateway knows of the namespace up to date.
func (g *Gateway) follow() {
	g.watch.each(func() {
		s, err := realise.Survey(g.ns, sysctls())
		if err != nil {
			return // of the next change more is known
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		_ = g.moveLocked(s) // as it was, then
	})
}

// moveLocked takes over what a survey found. The Gateway is locked.
func (g *Gateway) moveLocked(s realise.Surveyed) error {
	for _, one := range g.families {
		if one == nil {
			continue
		}
		if err := one.Move(s.Namespace); err != nil {
			return err
		}
	}
	if !reflect.DeepEqual(s.Namespace, g.surveyed.Namespace) {
		g.unloadAll(nil)
	}
	g.surveyed = s
	return nil
}
