import java.io.IOException;
import java.lang.classfile.ClassFile;
import java.lang.classfile.ClassFileVersion;
import java.lang.classfile.ClassHierarchyResolver;
import java.lang.classfile.ClassModel;
import java.lang.classfile.ClassTransform;
import java.lang.classfile.CodeTransform;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.zip.ZipEntry;
import java.util.zip.ZipInputStream;
import java.util.zip.ZipOutputStream;

/**
 * Part of the launcher's build. Gives classes older than Java 6 the format of Java 8, in place: Java keeps no older class in the
 * cache of a start, because only newer ones have the tables that it checks code by. The code does not change.
 */
void main(String[] jars) throws IOException {
    for (String jar : jars) {
        renew(Path.of(jar));
    }
}

void renew(Path jar) throws IOException {
    Path renewed = Path.of(jar + ".new");
    try (var loader = new URLClassLoader(new URL[] {jar.toUri().toURL()}, ClassLoader.getPlatformClassLoader());
            var in = new ZipInputStream(Files.newInputStream(jar));
            var out = new ZipOutputStream(Files.newOutputStream(renewed))) {
        ClassFile format = ClassFile.of(ClassFile.ClassHierarchyResolverOption.of(ClassHierarchyResolver.ofResourceParsing(loader)
                .orElse(ClassHierarchyResolver.defaultResolver())));
        for (ZipEntry entry = in.getNextEntry(); entry != null; entry = in.getNextEntry()) {
            byte[] bytes = in.readAllBytes();
            ZipEntry copy = new ZipEntry(entry.getName());
            copy.setTime(entry.getTime());
            out.putNextEntry(copy);
            out.write(entry.getName().endsWith(".class") ? renewed(format, bytes) : bytes);
        }
    }
    Files.move(renewed, jar, StandardCopyOption.REPLACE_EXISTING);
}

byte[] renewed(ClassFile format, byte[] bytes) {
    ClassModel old = format.parse(bytes);
    if (old.majorVersion() >= ClassFile.JAVA_6_VERSION) {
        return bytes;
    }
    ClassTransform writeCodeAnew = ClassTransform.transformingMethodBodies(CodeTransform.ACCEPT_ALL);
    return format.transformClass(old, writeCodeAnew.andThen((to, part) -> to.with(
            part instanceof ClassFileVersion ? ClassFileVersion.of(ClassFile.JAVA_8_VERSION, 0) : part)));
}
