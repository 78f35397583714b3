#!/usr/bin/env bash
# S3Proxy over a directory, an S3 server for `make integration-s3`: DIR/lib with its archives. Needs Java and Maven.
set -euo pipefail
version=2.6.0

case $1 in
  about) echo "archives from Maven Central" ;;
  inputs) echo "$version" ;;
  build)
    cat > "$2/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>lab</groupId><artifactId>s3proxy</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>org.gaul</groupId><artifactId>s3proxy</artifactId><version>$version</version></dependency>
  </dependencies>
</project>
POM
    cd "$2"
    nice mvn -q -B -Dmaven.repo.local="$2/repository" dependency:copy-dependencies -DoutputDirectory="$2/lib"
    rm -rf "$2/repository"
    ls "$2/lib/s3proxy-$version.jar"
    ;;
esac
