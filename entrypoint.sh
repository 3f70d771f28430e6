#!/bin/bash
exec centernet "$@"
