package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

// output is the flag that says how a command shows what it found.
type output string

// The forms of output.
const (
	asText output = "text"
	asJSON output = "json"
)

// flag gives the command the flag.
func (o *output) flag(cmd *cobra.Command) {
	*o = asText
	cmd.Flags().VarP(o, "output", "o", "text or json")
}

// String implements pflag.Value.
func (o *output) String() string { return string(*o) }

// Type implements pflag.Value.
func (o *output) Type() string { return "format" }

// Set implements pflag.Value. An unknown form is a mistake in the call and not plain text by chance.
func (o *output) Set(s string) error {
	switch output(s) {
	case asText, asJSON:
		*o = output(s)
		return nil
	default:
		return fmt.Errorf("%q is neither text nor json", s)
	}
}
