package rootless

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// furnish makes new namespaces, which the calling process is alone in, fit for natlab: with a /run of their own, which over mounts, and lo up. The
// user's runtime directory stays where it is.
func furnish(over func() error) error {
	if err := unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("mount --make-rslave /: %w", err)
	}
	runtime := os.Getenv(runtimeVariable)
	kept := -1
	if strings.HasPrefix(runtime, "/run/") {
		var err error
		if kept, err = unix.Open(runtime, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
			return fmt.Errorf("%s: %w", runtime, err)
		}
		defer unix.Close(kept) //nolint:errcheck // holds no data
	}
	if err := over(); err != nil {
		return err
	}
	if kept >= 0 {
		if err := os.MkdirAll(runtime, 0o700); err != nil {
			return err
		}
		if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", kept), runtime, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("mount --bind %s: %w", runtime, err)
		}
	}
	if err := os.WriteFile(marker, nil, 0o600); err != nil {
		return err
	}
	return loopbackUp()
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	request, err := unix.NewIfreq("lo")
	if err == nil {
		request.SetUint16(unix.IFF_UP)
		err = unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request)
	}
	if err != nil {
		err = fmt.Errorf("set lo up: %w", err)
	}
	return errors.Join(err, unix.Close(fd))
}
