package realise

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"

	"natlab/lab/sysctl"
)

// tree opens settings below /proc/sys in the namespace of the thread that uses it. What is below net/AREA is one place in the kernel's cache of
// names with those of all other namespaces (proc_sys_compare), where it takes time to find one's own: it is found once for an area, and the
// rest from there. The zero value is ready; close lets go of the areas.
type tree struct {
	areas map[string]int // descriptors, by their path
}

// open opens the file of a setting.
func (t *tree) open(key string, flags int) (fd int, err error) {
	area, rest := areaOf(key)
	if rest == "" {
		area, rest = "", key
	}
	dir, err := t.place(area)
	if err != nil {
		return -1, err
	}
	return unix.Openat(dir, rest, flags|unix.O_CLOEXEC, 0)
}

// place is the directory of an area, "" is /proc/sys.
func (t *tree) place(area string) (dir int, err error) {
	if dir, known := t.areas[area]; known {
		return dir, nil
	}
	if area == "" {
		dir, err = sysctl.Open()
	} else if dir, err = t.place(""); err == nil {
		dir, err = unix.Openat(dir, area, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		return -1, err
	}
	if t.areas == nil {
		t.areas = map[string]int{}
	}
	t.areas[area] = dir
	return dir, nil
}

// areaOf splits net/AREA off a key; rest is "" for one that is not below such.
func areaOf(key string) (area, rest string) {
	below, ok := strings.CutPrefix(key, "net/")
	if !ok {
		return "", ""
	}
	name, rest, _ := strings.Cut(below, "/")
	return "net/" + name, rest
}

// read is a setting's value, its words with one space between them; false where it cannot be read.
func (t *tree) read(key string) (value string, ok bool) {
	fd, err := t.open(key, unix.O_RDONLY)
	if err != nil {
		return "", false
	}
	defer unix.Close(fd) //nolint:errcheck // it was read
	var b [256]byte      // a setting of the network is a few numbers, or a name
	n, err := unix.Read(fd, b[:])
	if err != nil {
		return "", false
	}
	return strings.Join(strings.Fields(string(b[:n])), " "), true
}

// write gives a setting a value.
func (t *tree) write(key, value string) error {
	fd, err := t.open(key, unix.O_WRONLY)
	if err != nil {
		return err
	}
	_, err = unix.Write(fd, []byte(value))
	return errors.Join(err, unix.Close(fd))
}

func (t *tree) close() {
	for _, dir := range t.areas {
		_ = unix.Close(dir) // a place and no more
	}
	t.areas = nil
}
