package main

import (
	"cmp"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"natlab/nat/gateway"
)

// packetFlags choose which packets are followed.
type packetFlags struct {
	packets []string
	file    string
	in      string
	from    string
}

func (f *packetFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringArrayVar(&f.packets, "packet", nil, "a packet: 'tcp SRC[:PORT] > DST:PORT [in DEVICE] [from CLIENT] [mark N] [flags S] [uid N]' or 'icmp SRC > DST [type N[/CODE]]', a ping without a type; may be repeated")
	flags.StringVar(&f.file, "packets", "", "a file with a packet a line; - is standard input")
	flags.StringVar(&f.in, "in", "", "the device that packets come in by, where a packet names none; node for the node's own (default: the one towards the source)")
	flags.StringVar(&f.from, "from", "", "the node, pod or client of the cluster that sends the packets, where a packet names none")
}

// all reads the packets.
func (f *packetFlags) all(stdin io.Reader) ([]gateway.Spec, error) {
	var out []gateway.Spec
	for _, text := range f.packets {
		s, err := gateway.ParseSpec(text)
		if err != nil {
			return nil, fmt.Errorf("--packet: %w", err)
		}
		out = append(out, s)
	}
	if f.file != "" {
		more, err := f.read(stdin)
		if err != nil {
			return nil, err
		}
		out = append(out, more...)
	}
	for i := range out {
		out[i].Device, out[i].From = cmp.Or(out[i].Device, f.in), cmp.Or(out[i].From, f.from)
	}
	return out, nil
}

// read reads the file.
func (f *packetFlags) read(stdin io.Reader) ([]gateway.Spec, error) {
	r := stdin
	if f.file != "-" {
		file, err := openFile(f.file)
		if err != nil {
			return nil, err
		}
		defer file.Close() //nolint:errcheck // it was only read
		r = file
	}
	all, err := gateway.ReadSpecs(r)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.file, err)
	}
	return all, nil
}
