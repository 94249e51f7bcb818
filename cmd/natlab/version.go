package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
)

// revision is the commit that natlab was built from; the Makefile sets it.
var revision = "unknown"

func (p *program) version() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintf(p.out, "natlab %s %s %s/%s\n", revision, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}
