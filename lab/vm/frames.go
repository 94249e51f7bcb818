package vm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
)

// frameKind is what a frame on the VM's second serial line holds. The line begins with a greeting, so that what
// firmware writes there is passed over.
type frameKind byte

const (
	frameStdout frameKind = 'o'
	frameStderr frameKind = 'e'
	frameFile   frameKind = 'f' // a file's path below /out, NUL, a part of its content; parts follow one another
	frameExit   frameKind = 'x' // one byte: the command's exit status
	frameFault  frameKind = '!' // the VM itself failed: why, in words
)

const (
	greeting = "\x00natlab-vm-1\n"
	maxFrame = 1 << 16
)

// frameWriter writes frames; its methods may be called from several goroutines.
type frameWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (f *frameWriter) send(kind frameKind, payload []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for first := true; first || len(payload) > 0; first = false {
		part := payload[:min(len(payload), maxFrame)]
		payload = payload[len(part):]
		head := binary.BigEndian.AppendUint32([]byte{byte(kind)}, uint32(len(part)))
		if _, err := f.w.Write(append(head, part...)); err != nil {
			return err
		}
	}
	return nil
}

// stream is a Writer whose writes become frames of one kind.
type stream struct {
	to   *frameWriter
	kind frameKind
}

func (s stream) Write(p []byte) (int, error) { return len(p), s.to.send(s.kind, p) }

// readFrames passes over all up to the greeting and then hands each frame to handle until the line ends or handle
// returns an error.
func readFrames(r io.Reader, handle func(frameKind, []byte) error) error {
	if err := awaitGreeting(r); err != nil {
		return err
	}
	var head [5]byte
	buffer := make([]byte, maxFrame)
	for {
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return err
		}
		size := binary.BigEndian.Uint32(head[1:])
		if size > maxFrame {
			return fmt.Errorf("protocol error on the VM's serial line: a frame of %d bytes", size)
		}
		if _, err := io.ReadFull(r, buffer[:size]); err != nil {
			return err
		}
		if err := handle(frameKind(head[0]), buffer[:size]); err != nil {
			return err
		}
	}
}

var errNoGreeting = errors.New("the VM ended before its init spoke")

func awaitGreeting(r io.Reader) error {
	var b [1]byte
	for at := 0; at < len(greeting); {
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return errNoGreeting
		}
		switch b[0] {
		case greeting[at]:
			at++
		case greeting[0]:
			at = 1
		default:
			at = 0
		}
	}
	return nil
}
