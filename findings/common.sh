# Shared by the scripts of this folder: a temporary folder, pinned packages in it, and the comparison of what is seen
# with what was seen when the script was written.

set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# maven GROUP:ARTIFACT:VERSION...   puts the packages and what they need into $work/lib
maven() {
    {
        echo '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        echo '<groupId>finding</groupId><artifactId>finding</artifactId><version>1</version><dependencies>'
        local group artifact version
        for package in "$@"; do
            IFS=: read -r group artifact version <<< "$package"
            echo "<dependency><groupId>$group</groupId><artifactId>$artifact</artifactId><version>$version</version></dependency>"
        done
        echo '</dependencies></project>'
    } > "$work/pom.xml"
    mvn -B -q -f "$work/pom.xml" org.apache.maven.plugins:maven-dependency-plugin:3.9.0:copy-dependencies \
        -DoutputDirectory="$work/lib" > "$work/maven.log" 2>&1 || { cat "$work/maven.log" >&2; exit 1; }
}

# java_program NAME OPTION...   runs the Java program of standard input with the packages of $work/lib
java_program() {
    local name=$1
    shift
    cat > "$work/$name.java"
    java "$@" -cp "$work/lib/*" "$work/$name.java" 2> "$work/java.log" || { cat "$work/java.log" >&2; exit 1; }
}

# npm_packages NAME@VERSION...   puts the packages into $work/node_modules
npm_packages() {
    (cd "$work" && npm init -y > /dev/null && npm install --silent --no-audit --no-fund --ignore-scripts "$@" >&2)
}

# node_program   runs the JavaScript module of standard input, beside gguf.mjs of this folder
node_program() {
    cp "$(dirname "$0")/gguf.mjs" "$work"
    cat > "$work/program.mjs"
    (cd "$work" && node program.mjs)
}

# same EXPECTED SEEN   prints what was seen; fails where it is not what was expected
same() {
    echo "$2"
    if [ "$1" != "$2" ]; then
        echo "CHANGED. Expected was:" >&2
        echo "$1" >&2
        exit 1
    fi
    echo "As described."
}
