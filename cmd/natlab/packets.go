package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"natlab/nat"
	"natlab/nat/gateway"
)

// packetFlags say which packets are followed.
type packetFlags struct {
	packets []string
	file    string
	in      string
	from    string
}

func (f *packetFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringArrayVar(&f.packets, "packet", nil, "a packet: 'tcp SRC:PORT > DST:PORT [in DEVICE] [from CLIENT] [mark N] [flags S]'; may be repeated")
	flags.StringVar(&f.file, "packets", "", "a file with a packet a line; - is standard input")
	flags.StringVar(&f.in, "in", "", "the device that packets come in by, where they do not say; node for the node's own (default: the one towards the source)")
	flags.StringVar(&f.from, "from", "", "the node, pod or client of the cluster that sends the packets, where they do not say")
}

// asked is a packet that somebody asked for.
type asked struct {
	gateway.Ask
	From   string
	device string // as it was said: "" for not at all, "node" for none
}

// all reads the packets.
func (f *packetFlags) all(stdin io.Reader) ([]asked, error) {
	var out []asked
	for _, text := range f.packets {
		a, err := f.parse(text)
		if err != nil {
			return nil, fmt.Errorf("--packet: %w", err)
		}
		out = append(out, a)
	}
	if f.file == "" {
		return out, nil
	}
	r := stdin
	if f.file != "-" {
		file, err := os.Open(f.file)
		if err != nil {
			return nil, err
		}
		defer file.Close() //nolint:errcheck // it was only read
		r = file
	}
	scan := bufio.NewScanner(r)
	for number := 1; scan.Scan(); number++ {
		text := strings.TrimSpace(scan.Text())
		if text == "" || text[0] == '#' {
			continue
		}
		a, err := f.parse(text)
		if err != nil {
			return nil, fmt.Errorf("%s: line %d: %w", f.file, number, err)
		}
		out = append(out, a)
	}
	return out, scan.Err()
}

// parse reads "tcp SRC:PORT > DST:PORT" and what may stand behind it.
func (f *packetFlags) parse(text string) (a asked, err error) {
	a.device, a.From = f.in, f.from
	words := strings.Fields(text)
	if len(words) > 4 {
		for rest := words[4:]; len(rest) > 0; rest = rest[2:] {
			if len(rest) == 1 {
				return a, fmt.Errorf("%q: %s is not followed by anything", text, rest[0])
			}
			if err := a.option(rest[0], rest[1]); err != nil {
				return a, fmt.Errorf("%q: %w", text, err)
			}
		}
		text = strings.Join(words[:4], " ")
	}
	if a.Tuple, err = nat.ParseTuple(text); err != nil {
		return a, err
	}
	return a, nil
}

func (a *asked) option(name, value string) error {
	switch name {
	case "in":
		a.device = value
	case "from":
		a.From = value
	case "mark":
		n, err := strconv.ParseUint(value, 0, 32)
		if err != nil {
			return fmt.Errorf("mark %s: want a number", value)
		}
		a.Mark = uint32(n)
	case "flags":
		for _, letter := range value {
			i := strings.IndexRune("FSRPAUEW", letter)
			if i < 0 {
				return fmt.Errorf("flags %s: want letters of FSRPAUEW", value)
			}
			a.Flags |= 1 << i
		}
	case "type":
		kind, code, _ := strings.Cut(value, "/")
		n, err := strconv.ParseUint(kind, 10, 8)
		m, err2 := strconv.ParseUint("0"+code, 10, 9)
		if errors.Join(err, err2) != nil || m > 255 {
			return fmt.Errorf("type %s: want an ICMP type, such as 8 or 3/1", value)
		}
		a.Type, a.Code = uint8(n), uint8(m)
	default:
		return fmt.Errorf("%s is not known: want in, from, mark, flags or type", name)
	}
	return nil
}
