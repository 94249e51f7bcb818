package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"natlab/lab/doctor"
)

func (p *program) doctor() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor [-o text|json]",
		Short: "Say what this kernel and machine offer, and what natlab does instead of what is missing",
		Long: `Try out everything that natlab wants of this kernel and machine, in namespaces of its own that are gone afterwards.
Exit status 1 means that something is missing without which no lab comes up.`,
		Args: noArgs,
	}
	format := output(cmd, "text", "json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		features := doctor.Examine(cmd.Context())
		if err := p.writeFeatures(features, format.value); err != nil {
			return err
		}
		for _, f := range features {
			if f.Needed && f.Have != doctor.Yes {
				return errDiffers
			}
		}
		return nil
	}
	return cmd
}

func (p *program) writeFeatures(features []doctor.Feature, format string) error {
	if format == "json" {
		return writeJSON(p.out, doctorReport{features})
	}
	var b strings.Builder
	width := 0
	for _, f := range features {
		width = max(width, len(f.Name))
	}
	marks := map[doctor.Answer]string{doctor.Yes: "yes ", doctor.No: "no  ", doctor.CannotTell: "?   "}
	for _, f := range features {
		fmt.Fprintf(&b, "%s %-*s  %s\n", marks[f.Have], width, f.Name, f.Detail)
		if f.Have == doctor.Yes {
			continue
		}
		indent := strings.Repeat(" ", len(marks[f.Have])+width+3)
		if columns := p.style().Width; columns > 0 && columns < 2*len(indent) {
			indent = "     " // there is no room beside the names
		}
		for _, line := range []struct{ label, text string }{{"for", f.For}, {"instead", f.Instead}, {"remedy", f.Remedy}} {
			if line.text != "" {
				fmt.Fprintf(&b, "%s%-8s %s\n", indent, line.label, line.text)
			}
		}
		if f.Needed {
			fmt.Fprintf(&b, "%sno lab comes up without it\n", indent)
		}
	}
	_, err := fmt.Fprint(p.out, p.fit(b.String()))
	return err
}
